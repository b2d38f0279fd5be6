// TurnAudit: what somebody who sees all routers and instances at once says of their turns.
//
// An instance idles while work waits when nobody waits for a first token from it although a request
// is placed there: the longest such time is `idle_s`. How many were without a first token at one
// instance at once is `most_running`; with one allowed and one sent ahead, what is above two is
// overshoot: nodes that believed to be first at the same moment.
//
// Invariant: `running` of an instance is what was sent to it less what has had a first token, or
// was lost. Threads: none; a value. Source: ours; the onlooker of the tests of work conservation in
// operating systems.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "policies/time.h"

namespace dualmesh::node {

class TurnAudit {
 public:
  TurnAudit(std::size_t instances, std::size_t requests)
      : instances_(instances), placed_(requests) {}

  void placed(std::size_t request, policies::Time now) { placed_[request] = now; }
  void sent(std::size_t request, std::size_t instance, policies::Time now) {
    Instance& at = instances_[instance];
    if (at.running == 0) {
      idle_ = std::max(idle_, now - std::max(at.idle_since, placed_[request]));
    }
    most_running_ = std::max(most_running_, ++at.running);
    if (at.running > kExpected) ++overshoots_;
  }
  // Has had its first token, or will have none.
  void served(std::size_t instance, policies::Time now) {
    Instance& at = instances_[instance];
    if (at.running > 0) --at.running;
    if (at.running == 0) at.idle_since = now;
  }

  double idle_s() const { return policies::to_seconds(idle_); }
  std::uint32_t most_running() const { return most_running_; }
  std::uint64_t overshoots() const { return overshoots_; }

 private:
  static constexpr std::uint32_t kExpected = 2;
  struct Instance {
    std::uint32_t running = 0;
    policies::Time idle_since{};
  };

  std::vector<Instance> instances_;
  std::vector<policies::Time> placed_;  // by request, where it stands now
  policies::Duration idle_{};
  std::uint32_t most_running_ = 0;
  std::uint64_t overshoots_ = 0;
};

}  // namespace dualmesh::node
