// InstanceHealth: the one verdict on each instance, from the probes (InstanceMonitor) and from what
// it makes of real requests (policies/outlier_detector.h, policies/circuit_breaker.h).
//
//   well       probed well, and answers as the others do
//   unwell     its probes fail: no requests, whatever else is known
//   ejected    answers badly: rests for a while
//   on trial   rested: a few requests at a time, until enough were answered
//
// The last that is well of any of its models is never ejected. An instance that was down and is
// back begins with a clean history.
//
// Invariant: `changed` is called, without a lock held, after every change of a verdict; whoever
// carries it on asks for the verdict then, so that the newest is what remains.
// Threads: any; the timers of rests are on the I/O thread given. Lock order: verdict() may be asked
// under the scheduler's mutex; ours is never held while anything is called.
#pragma once

#include <atomic>
#include <boost/container/flat_map.hpp>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "node/router/shared_scheduler.h"
#include "policies/circuit_breaker.h"
#include "policies/outlier_detector.h"

namespace dualmesh::node {

class InstanceHealth {
 public:
  using Era = policies::CircuitBreaker::Era;
  struct Settings {
    policies::OutlierSettings outliers;
    std::uint32_t trial_requests = 3;
  };
  struct Verdict {
    enum class State : std::uint8_t { well, unwell, ejected, on_trial } state = State::well;
    std::uint32_t trial =
        0;               // requests without an answer that it may have at a time; 0: any number
    std::string reason;  // of an ejection, kept during the trial

    bool usable() const { return state == State::well || state == State::on_trial; }
  };

  InstanceHealth(net::IoThread& thread, Settings settings, Clock clock,
                 std::function<void(policies::Slot)> changed);

  void set_view(const policies::FleetView& view);
  void probed(policies::Slot slot, bool healthy);
  void renewed(policies::Slot slot);  // it is another one, or the same after having been down

  // An attempt at it: sent once, its answer begun at most once, ended at most once.
  Era sent(policies::Slot slot) const;
  void answered(policies::Slot slot, Era sent_in);  // no error, and its first byte is here
  void ended(policies::Slot slot, Era sent_in, policies::Answered how, const std::string& what);

  Verdict verdict(policies::Slot slot) const;
  std::uint64_t ejections() const { return ejections_.load(); }

 private:
  struct Watched {
    explicit Watched(std::uint32_t trial_requests) : breaker(trial_requests) {}
    policies::CircuitBreaker breaker;
    bool probed_well = true;
    std::string name;
    std::string reason;
  };
  // With mutex_ held.
  Watched* find(policies::Slot slot);
  bool somebody_else(policies::Slot slot) const;
  bool eject(policies::Slot slot, Watched& watched, const std::string& why, policies::Time now);
  void renew(policies::Slot slot, Watched& watched);

  void wake_later(policies::Slot slot, policies::Time at);
  void wake(policies::Slot slot);

  net::IoThread& thread_;
  const Settings settings_;
  const Clock clock_;
  const std::function<void(policies::Slot)> changed_;
  std::atomic<bool> any_tripped_{false};  // ever: until then every era is the first
  std::atomic<std::uint64_t> ejections_{0};
  mutable std::mutex mutex_;
  policies::OutlierDetector outliers_;  // guarded, as is the rest
  boost::container::flat_map<policies::Slot, Watched> watched_;
  std::vector<std::vector<policies::Slot>> models_;  // who serves each, and takes requests
  // On thread_ only: by slot, the end of its rest.
  boost::container::flat_map<policies::Slot, net::IoThread::Timer> timers_;
};

// Carries on the verdict on `slot` as it is when the scheduler is entered.
void tell_scheduler(SharedScheduler& scheduler, const InstanceHealth& health, policies::Slot slot);

}  // namespace dualmesh::node
