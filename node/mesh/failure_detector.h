// FailureDetector: decides from what was heard, and when, whom to probe, accuse and give up.
//
//   silent for `silence_ms` -> ask up to 3 others -> nobody reaches it -> suspect
//   suspect for `suspicion_ms`, not refuted, still not heard -> dead
//
// With the defaults (ping 250 ms, timeout 500 ms, 3 misses, suspicion 1.5 s) the worst case is
// 1.0 + 0.25 + 0.5 + 1.5 + 0.25 = 3.5 s, for a killed process and for silence alike. A node that
// finds *itself* late (its own ticks did not come) accuses nobody: it forgives the time it slept.
//
// Pure: no I/O, no timers, no randomness. Whoever drives it sends the pings, and reports back.
// Threads: none; time is an argument.
// Source: SWIM (Das, Gupta, Motivala 2002); direct evidence over a full mesh of links in place of
// random probing; own lateness after Lifeguard (arXiv 1707.00788), in its simplest form.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "crdt/membership.h"
#include "node/mesh/mesh_config.h"
#include "policies/time.h"

namespace dualmesh::node {

class FailureDetector {
 public:
  explicit FailureDetector(const MeshConfig& config);

  struct Actions {
    std::vector<crdt::NodeId> probe;  // ask others whether they reach it, then probe_answered
    std::vector<crdt::NodeId> dead;   // give up
  };

  // The member's status as merged, from whatever source; unreachable ones are watched no longer.
  void status(crdt::NodeId node, crdt::MemberStatus status, policies::Time now);
  void heard(crdt::NodeId node, policies::Time now);
  // The indirect probe has ended: somebody reached it, or nobody did. True: accuse it now.
  bool probe_answered(crdt::NodeId node, bool reached, policies::Time now);
  // Call every ping_interval_ms.
  Actions tick(policies::Time now);

  policies::Time last_heard(crdt::NodeId node) const;  // zero: never
  std::uint64_t own_pauses() const { return own_pauses_; }

 private:
  struct Watched {
    crdt::MemberStatus status = crdt::MemberStatus::alive;
    policies::Time heard{0};  // by us, or lately by somebody who was asked
    policies::Time suspected{0};
    bool probing = false;
  };

  policies::Duration interval_;
  policies::Duration silence_;
  policies::Duration suspicion_;
  policies::Time last_tick_{0};
  std::uint64_t own_pauses_ = 0;
  std::map<crdt::NodeId, Watched> watched_;
};

}  // namespace dualmesh::node
