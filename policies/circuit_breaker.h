// CircuitBreaker: an instance that was ejected rests, then is tried with a few real requests, and
// is whole again when these were answered.
//
//   closed -- trip --> open -- its rest is over --> half-open -- enough answers --> closed
//                        ^                              |
//                        +------- trip ---- a failure --+
//
// An attempt remembers the era in which it was sent. What was sent before the trip says nothing
// about the trial, however late it ends.
//
// Invariant: but for close(), half-open becomes closed only by `trial_requests` answers sent in
// that trial.
// Threads: none; its owner locks. Source: Nygard, "Release It!"; half-open as in resilience4j.
#pragma once

#include <algorithm>
#include <cstdint>

#include "policies/time.h"

namespace dualmesh::policies {

class CircuitBreaker {
 public:
  enum class State : std::uint8_t { closed, open, half_open };
  using Era = std::uint32_t;

  // As many requests may be there without an answer while it is tried.
  explicit CircuitBreaker(std::uint32_t trial_requests)
      : trial_requests_(std::max(trial_requests, 1U)) {}

  State state() const { return state_; }
  Era era() const { return era_; }  // of what is sent now
  Time open_until() const { return open_until_; }
  std::uint32_t trial_requests() const { return trial_requests_; }
  std::uint32_t answers() const { return answers_; }  // of the trial

  void trip(Time now, Duration rest);
  // It is another instance now: closed, and what is under way there says nothing about it.
  void close() {
    state_ = State::closed;
    ++era_;
  }
  // The rest is over: open becomes half-open. True when it did.
  bool wake(Time now);
  // An answer has begun. True when that ends the trial: closed now.
  bool answered(Era sent_in);
  // An attempt has failed. True when it failed at the trial: to be tripped again.
  bool failed_trial(Era sent_in) const { return state_ == State::half_open && sent_in == era_; }

 private:
  std::uint32_t trial_requests_;
  State state_ = State::closed;
  Era era_ = 0;
  Time open_until_{};
  std::uint32_t answers_ = 0;
};

}  // namespace dualmesh::policies
