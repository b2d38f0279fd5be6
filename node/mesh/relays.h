// Relays: where a writer's own words do not reach us, which other node passes them on.
//
// - no push or ping of W over W's own link for `silence`: a peer R is asked for W's feeds;
//
// - R hears W itself, and says so with each ping: its copies of W's columns come with its pushes;
//
// - R does not say so for as long: the next one is asked;
//
// - W is heard again: nobody is asked any more.
//
// Only what R was told by W itself is passed on, one hop: two nodes that relayed each other's
// copies would keep a dead writer's words alive between them.
//
// Time in which we ourselves did nothing (a paused process) is not counted as their silence.
//
// Invariant: a relay is asked for exactly the living writers that are not heard directly. Pure:
// whoever drives it does the asking. Threads: none; time is an argument.
// Source: SWIM's indirect probe, for state in place of a sign of life.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "crdt/identity.h"
#include "policies/time.h"

namespace dualmesh::node {

class Relays {
 public:
  using Time = policies::Time;
  using Nodes = std::set<crdt::NodeId>;

  // `silence`: several pings long. Twice as long without a word, direct or relayed, and what a
  // writer last said is out of date.
  explicit Relays(policies::Duration silence = std::chrono::seconds(1)) : silence_(silence) {}

  void told(crdt::NodeId writer, Time now);  // by itself, over its own link
  void relayed(crdt::NodeId relay, const std::vector<crdt::NodeId>& writers, Time now);
  // Once per round of pings: the other nodes that live, and those we have a link to.
  void tick(const Nodes& living, const Nodes& linked, Time now);

  std::vector<crdt::NodeId> wanted_of(crdt::NodeId relay) const;
  bool hears(crdt::NodeId writer, Time now) const;  // directly, lately
  std::optional<crdt::NodeId> relay_of(crdt::NodeId writer) const;
  Nodes unheard(Time now) const;  // living, but nothing of them for twice the silence

 private:
  struct Writer {
    Time told{0};
    Time relayed{0};
    Time asked{0};
    std::optional<crdt::NodeId> relay;
  };

  policies::Duration silence_;
  std::map<crdt::NodeId, Writer> writers_;  // the living
  Time last_tick_{0};
};

}  // namespace dualmesh::node
