// Partition: what this node cannot reach of the mesh, as people should hear of it.
//
// A dead process and the far side of a cut look the same from here, so both count: every member
// that was declared dead and has not left, until it answers again or a day has passed.
//
// Threads: none; the mesh thread's.
#pragma once

#include <map>
#include <string>

#include "crdt/membership.h"
#include "policies/time.h"

namespace dualmesh::node {

struct PartitionState {
  std::size_t unreachable = 0;
  std::size_t of = 1;       // members, this node included
  policies::Time since{0};  // when the first of those was declared dead
  bool whole() const { return unreachable == 0; }
  bool has_majority() const { return 2 * (of - unreachable) > of; }
};

// Empty when the mesh is whole.
std::string describe(const PartitionState& state, policies::Time now);

class Partition {
 public:
  void learned(crdt::NodeId node, const crdt::Member& member, policies::Time now);
  // `known(node)`: still remembered as a member.
  template <class Known>
  void forget(policies::Time now, Known&& known) {
    std::erase_if(unreachable_, [&](const auto& entry) {
      return now - entry.second > kForgotten || !known(entry.first);
    });
  }
  PartitionState state(std::size_t reachable) const;  // this node included

 private:
  static constexpr policies::Duration kForgotten = std::chrono::hours(24);
  std::map<crdt::NodeId, policies::Time> unreachable_;  // since when
};

}  // namespace dualmesh::node
