// KvObservers: which nodes observe which streams: rendezvous hashing with bounded loads.
//
// A stream goes to the nodes of its highest weights that have room: of N nodes and S streams each
// is the first observer of S/N, rounded down or up, and as far as there is a choice likewise the
// second and third; they pay differently, so each role has its own bound. Who cannot observe a
// stream goes behind those who can; of a few such streams no other moves. A node that dies or joins
// moves its own share and a few more (the test says how many).
//
// Invariant: a function of the names alone, in whatever order they are given, and of who is able:
// nodes that know the same agree.
// Threads: none.
// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016; here with
// the highest random weight (Thaler, Ravishankar, 1998), and without slack.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "crdt/identity.h"

namespace dualmesh::node {

class KvObservers {
 public:
  using Able = std::function<bool(std::size_t stream, crdt::NodeId node)>;

  // Streams by name, unequal; `observers` of each, as far as there are nodes.
  void set(std::span<const std::uint64_t> streams, std::vector<crdt::NodeId> nodes,
           std::uint32_t observers);
  // Of each stream, as they were given: all nodes, the observers first, the first of them in front.
  std::vector<std::vector<crdt::NodeId>> orders(const Able& able) const;

 private:
  using Index = std::uint32_t;  // of a node
  struct Loads;
  void place(std::size_t role);
  Index choose(std::size_t at, std::size_t role, const Loads& loads);
  bool holds(std::size_t stream, Index node) const;

  std::vector<crdt::NodeId> nodes_;
  std::size_t roles_ = 0;
  std::vector<std::size_t> in_order_;          // streams by name
  std::vector<std::vector<Index>> by_weight_;  // of each stream, the greatest first
  std::vector<std::vector<Index>> chosen_;     // of each stream, by role
};

}  // namespace dualmesh::node
