// RetryBudget: retries are at most a share of the requests of the last seconds, with a small number
// free, so that a fleet that fails does not get a multiple of its load.
//
// A request is worth `share` of a retry while it is in the window, a retry uses one up while it is;
// in other words a bucket of tokens that expire. What is refused costs nothing.
//
// Invariant: at the moment a retry is granted, those granted within the window, this one with them,
// are at most max(free_retries, share x requests of the window).
// Cost: O(10) per call, no allocation. Threads: none; its owner locks.
// Source: Finagle's RetryBudget and Envoy's retry_budget (a share of live requests and a minimum).
#pragma once

#include <cstdint>

#include "policies/time.h"
#include "policies/window_counts.h"

namespace dualmesh::policies {

struct RetryBudgetSettings {
  double share = 0.2;                // retries per request
  std::uint32_t free_retries = 100;  // per window, however few requests there are
  Duration window = std::chrono::seconds(10);
};

class RetryBudget {
 public:
  explicit RetryBudget(const RetryBudgetSettings& settings)
      : settings_(settings), counts_(settings.window) {}

  void request(Time now) { counts_.add(kRequests, now); }  // a first attempt is made
  bool take(Time now);                                     // true: one retry may be made
  std::uint64_t granted() const { return granted_; }       // ever

 private:
  static constexpr std::size_t kRequests = 0;
  static constexpr std::size_t kRetries = 1;

  RetryBudgetSettings settings_;
  WindowCounts<2> counts_;
  std::uint64_t granted_ = 0;
};

// How long to wait before attempt `retry` (the first is 1): a random part of a bound that doubles,
// so that those who failed together do not come again together. `random` is from [0, 1).
Duration retry_pause(std::uint32_t retry, Duration base, Duration most, double random);

}  // namespace dualmesh::policies
