#include "policies/prefill_estimator.h"

#include <algorithm>

namespace dualmesh::policies {

void PrefillEstimator::add(Duration until_first_token, std::uint64_t uncached_tokens) {
  if (uncached_tokens < kMinTokens || until_first_token <= Duration::zero()) return;
  samples_[next_] = {to_seconds(until_first_token) / static_cast<double>(uncached_tokens),
                     uncached_tokens};
  next_ = (next_ + 1) % kWindow;
  count_ = std::min(count_ + 1, kWindow);
  if (count_ >= kMinSamples) update();
}

void PrefillEstimator::update() {
  std::array<Sample, kWindow> sorted = samples_;
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(count_);
  std::sort(sorted.begin(), end,
            [](const Sample& a, const Sample& b) { return a.s_per_token < b.s_per_token; });
  std::uint64_t total = 0;
  for (auto sample = sorted.begin(); sample != end; ++sample) total += sample->tokens;
  std::uint64_t below = 0;
  for (auto sample = sorted.begin(); sample != end; ++sample) {
    below += sample->tokens;
    if (2 * below >= total) {
      estimate_ = sample->s_per_token;
      return;
    }
  }
}

}  // namespace dualmesh::policies
