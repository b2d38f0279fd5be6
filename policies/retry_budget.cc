#include "policies/retry_budget.h"

#include <algorithm>

namespace dualmesh::policies {

bool RetryBudget::take(Time now) {
  const auto [requests, retries] = counts_.sums(now);
  const double allowed = std::max(static_cast<double>(settings_.free_retries),
                                  settings_.share * static_cast<double>(requests));
  if (static_cast<double>(retries + 1) > allowed) return false;
  counts_.add(kRetries, now);
  ++granted_;
  return true;
}

Duration retry_pause(std::uint32_t retry, Duration base, Duration most, double random) {
  Duration bound = base;
  for (std::uint32_t i = 1; i < retry && bound < most; ++i) bound *= 2;
  return from_seconds(to_seconds(std::min(bound, most)) * random);
}

}  // namespace dualmesh::policies
