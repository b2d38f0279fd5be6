// PrefillEstimator: seconds of prefill per uncached token of one instance, learned from first
// tokens.
//
// Each sample is the time from dispatch to first token over the uncached tokens that stood for it.
// The estimate is the median of the last samples, weighted by tokens: a minority of odd samples
// (wrong guesses of the cache, an engine that paused) cannot move it far, and long prompts, where
// the fixed cost of an iteration matters little, count most. Tokens are the router's own estimates
// throughout, so an error in the tokens per byte cancels out.
//
// Invariant: the estimate is the initial value, or lies between the least and greatest kept sample.
// Cost: add O(window log window), about half a microsecond; value O(1); no allocation.
// Threads: none.
#pragma once

#include <array>
#include <cstdint>

#include "policies/time.h"

namespace dualmesh::policies {

class PrefillEstimator {
 public:
  static constexpr std::size_t kWindow = 32;
  static constexpr std::size_t kMinSamples = 3;
  static constexpr std::uint64_t kMinTokens =
      64;  // shorter ones measure the iteration, not prefill

  explicit PrefillEstimator(double initial_s_per_token) : estimate_(initial_s_per_token) {}

  void add(Duration until_first_token, std::uint64_t uncached_tokens);
  double s_per_token() const { return estimate_; }
  std::size_t samples() const { return count_; }

 private:
  struct Sample {
    double s_per_token;
    std::uint64_t tokens;
  };
  void update();

  std::array<Sample, kWindow> samples_{};
  std::size_t count_ = 0;
  std::size_t next_ = 0;
  double estimate_;
};

}  // namespace dualmesh::policies
