// TurnAudit: what somebody who sees all routers and instances at once says of their turns.
//
// An instance idles beside waiting work when nobody waits for a first token from it although a
// request that is placed there has not been sent: the longest such time is `idle_s`. How many were
// without a first token at one instance at once is `most_running`; with one allowed and one sent
// ahead, what is above two is overshoot: nodes that believed to be first at the same moment, or an
// order that sends several together.
//
// Invariant: a request waits at one instance at most; `running` of an instance is what was sent to
// it less what has had a first token, or was lost. An instance that is down does not idle. Threads:
// none; a value. Source: ours; the onlooker of the tests of work conservation in operating systems.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <cstdint>
#include <vector>

#include "policies/ring.h"
#include "policies/time.h"

namespace dualmesh::node {

class TurnAudit {
 public:
  TurnAudit(std::size_t instances, std::size_t requests)
      : instances_(instances), waits_at_(requests, policies::kNoSlot) {}

  // Placed there, in the place of where it waited before.
  void placed(std::size_t request, policies::Slot slot, policies::Time now) {
    gone(request, now);
    waits_at_[request] = slot;
    change(slot, now, [](Instance& at) { ++at.waiting; });
  }
  void sent(std::size_t request, policies::Slot slot, policies::Time now) {
    gone(request, now);
    change(slot, now, [](Instance& at) { ++at.running; });
    const Instance& at = instances_[slot];
    most_running_ = std::max(most_running_, at.running);
    if (at.running > kExpected) ++overshoots_;
  }
  // One that was sent has had its first token, or will have none.
  void served(policies::Slot slot, policies::Time now) {
    change(slot, now, [](Instance& at) {
      BOOST_ASSERT(at.running > 0);
      --at.running;
    });
  }
  // It waits nowhere any more.
  void gone(std::size_t request, policies::Time now) {
    const policies::Slot slot = waits_at_[request];
    if (slot == policies::kNoSlot) return;
    waits_at_[request] = policies::kNoSlot;
    change(slot, now, [](Instance& at) { --at.waiting; });
  }
  void down(policies::Slot slot, bool is_down, policies::Time now) {
    change(slot, now, [is_down](Instance& at) { at.down = is_down; });
  }

  // Up to `now`: what nobody ends must show most of all.
  double idle_s(policies::Time now) const {
    policies::Duration longest = idle_;
    for (const Instance& at : instances_) {
      if (at.idles()) longest = std::max(longest, now - at.since);
    }
    return policies::to_seconds(longest);
  }
  std::uint32_t most_running() const { return most_running_; }
  std::uint64_t overshoots() const { return overshoots_; }

 private:
  static constexpr std::uint32_t kExpected = 2;
  struct Instance {
    std::uint32_t waiting = 0;
    std::uint32_t running = 0;
    bool down = false;
    policies::Time since{};  // when it came to be as it is, if it idles

    bool idles() const { return waiting > 0 && running == 0 && !down; }
  };

  template <class Change>
  void change(policies::Slot slot, policies::Time now, Change&& apply) {
    Instance& at = instances_[slot];
    const bool before = at.idles();
    if (before) idle_ = std::max(idle_, now - at.since);
    apply(at);
    if (!before) at.since = now;
  }

  std::vector<Instance> instances_;
  std::vector<policies::Slot> waits_at_;  // by request
  policies::Duration idle_{};
  std::uint32_t most_running_ = 0;
  std::uint64_t overshoots_ = 0;
};

}  // namespace dualmesh::node
