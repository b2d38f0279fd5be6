// FailureDetector: decides from what was heard, and when, whom to probe, accuse and give up.
//
//   silent for `silence` -> ask up to 3 others -> nobody reaches it -> suspect
//   suspect for the suspicion time, not refuted, still not heard -> dead
//
// The suspicion time is `suspicion_ms` when 3 others find it silent as well, up to three times as
// long when nobody does. Where fewer than 3 others could say so, it is `suspicion_ms` at once.
// Accusations travel with the pings, as the sender's whole list, so nothing of a dead accuser
// stays.
//
// Worst case from its last word until all have given it up, with the defaults (ping 250 ms, timeout
// 500 ms, 3 misses, suspicion 1.25 s) and healthy observers: 1.0 silence + 0.25 tick + 0.55 probe +
// 1.25 suspicion + 0.25 tick = 3.3 s, for a killed process and for silence alike. Confirmations
// cost nothing: whoever is dead is silent to all by 1.25 s, and the pings of 2.05 s say so.
// A node that doubts itself (local_health.h) waits longer, and hears of the death from the others.
// One that slept accuses nobody for that time.
//
// Pure: no I/O, no timers, no randomness. Whoever drives it sends the pings, and reports back.
// Threads: none; time is an argument.
// Source: SWIM (Das, Gupta, Motivala 2002); direct evidence over a full mesh of links in place of
// random probing; Lifeguard (arXiv 1707.00788) for local health and the suspicion time.
#pragma once

#include <compare>
#include <map>
#include <set>
#include <vector>

#include "crdt/membership.h"
#include "node/mesh/local_health.h"
#include "node/mesh/mesh_config.h"
#include "policies/time.h"

namespace dualmesh::node {

// "That life of it is silent to me too"; void once it has refuted or begun another life.
struct Accusation {
  crdt::NodeId node;
  crdt::Epoch epoch;
  std::uint64_t refutations = 0;
  auto operator<=>(const Accusation&) const = default;
};

// From `longest`, when nobody confirms, to `shortest`, when `wanted` do: each further confirmation
// says less than the one before, so the time falls with the logarithm.
policies::Duration suspicion_time(policies::Duration shortest, policies::Duration longest,
                                  std::size_t confirmations, std::size_t wanted);

class FailureDetector {
 public:
  static constexpr std::size_t kWantedConfirmations = 3;
  static constexpr int kLongestSuspicion = 3;  // times the shortest

  explicit FailureDetector(const MeshConfig& config);

  struct Actions {
    std::vector<crdt::NodeId> probe;  // ask others whether they reach it, then probe_answered
    std::vector<crdt::NodeId> dead;   // give up
  };

  // The member as merged, from whatever source; unreachable ones are watched no longer.
  void learned(crdt::NodeId node, const crdt::Member& member, policies::Time now);
  void heard(crdt::NodeId node, policies::Time now);
  // All that `accuser` accuses by now, of its own observation.
  void accused(crdt::NodeId accuser, std::vector<Accusation> accusations);
  void probe_began(crdt::NodeId node, std::vector<crdt::NodeId> helpers, policies::Time now);
  // The indirect probe has ended: somebody reached it, or nobody did. True: accuse it now.
  bool probe_answered(crdt::NodeId node, bool reached, policies::Time now);
  // We were accused and had to say that we live.
  void refuted() { health_.worse(); }
  // Call every ping_interval_ms.
  Actions tick(policies::Time now);

  // What to tell the others: suspects that are silent to us as well.
  std::vector<Accusation> accusations(policies::Time now) const;
  std::size_t confirmations(crdt::NodeId node) const;  // others that accuse it as it is now
  policies::Time last_heard(crdt::NodeId node) const;  // zero: never
  const LocalHealth& health() const { return health_; }
  std::uint64_t own_pauses() const { return own_pauses_; }

 private:
  struct Watched {
    crdt::Epoch epoch;
    std::uint64_t refutations = 0;
    crdt::MemberStatus status = crdt::MemberStatus::alive;
    policies::Time heard{0};  // by us, or lately by somebody who was asked
    policies::Time suspected{0};
    bool probing = false;
    policies::Time probe_began{0};
    std::vector<crdt::NodeId> owing;  // helpers that were well when asked
    std::set<Accusation> accuses;
  };

  policies::Duration silence() const { return silence_ * health_.multiplier(); }
  bool silent(const Watched& watched, policies::Time now) const {
    return now - watched.heard >= silence();
  }
  policies::Duration suspicion(crdt::NodeId node, policies::Time now) const;
  void forgive(policies::Duration slept, policies::Time now);

  policies::Duration interval_;
  policies::Duration silence_;
  policies::Duration suspicion_;
  LocalHealth health_;
  policies::Time last_tick_{0};
  std::uint64_t own_pauses_ = 0;
  std::map<crdt::NodeId, Watched> watched_;
};

}  // namespace dualmesh::node
