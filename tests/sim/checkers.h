// Checkers: what must be true of a mesh, looked at from outside of its nodes.
//
// While there is trouble (`watch`, twice a virtual second):
//   columns      nothing of a dead epoch or of an unreachable node is held
//   memberships  what a node knows of another only grows; its own epoch never goes back
//   removed      an instance that a node holds as removed is on none of its rings
//   collected    whoever collects a removed instance does so when all it counts as living have
//                applied the removal
//   bounds       members, feeds, names and bytes under way stay within their limits
// After healing and silence (`settled`, `difference` names what is missing):
//   digests equal, everybody alive to everybody, links in step, load sums equal to the truth, rings
//   equal and what the replicated state alone makes of them, by the parameters of the highest
//   generation, nobody taken for partitioned off who is not, nothing back that was collected, no
//   connection too many
//
// Each returns a sentence for people, empty when all is well. Threads: none; the cluster's.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/scenario.h"
#include "tests/sim/sim_pipe.h"
#include "tests/sim/workload.h"

namespace dualmesh::sim {

class Checkers {
 public:
  Checkers(const Scenario& scenario, SimCluster& cluster, const Workload& workload);

  // Between these two nodes a link may be missing.
  void expect_cut(std::optional<std::pair<std::size_t, std::size_t>> cut) { cut_ = cut; }

  std::string watch();
  // Why the mesh is not at rest and in agreement; empty: it is.
  std::string difference() const;
  // After all requests are finished and the mesh has agreed: nothing is left of them.
  std::string leftovers() const;
  std::uint64_t partitions() const { return partitions_; }  // shown by a node, since when it began

 private:
  using Removal = std::pair<std::string, crdt::Stamp>;  // of which instance, and when said
  struct Collection {  // counts for as long as its node lives and goes by no other's registry
    crdt::Stamp removal;
    std::size_t node;
    std::uint64_t life;
    std::uint64_t registries_taken;
  };

  std::string check_columns(std::size_t node) const;
  std::string check_memberships(std::size_t node);
  std::string check_removed(std::size_t node);
  std::string check_collected(std::size_t node);
  std::string check_bounds(std::size_t node) const;
  bool lived_with(std::size_t node, std::size_t other) const;
  void note_partition(std::size_t node);
  bool cut_between(std::size_t a, std::size_t b) const {
    return cut_.has_value() && std::minmax(a, b) == std::minmax(cut_->first, cut_->second);
  }
  std::string links_differ(std::size_t node) const;
  std::string loads_differ(std::size_t node) const;
  std::string rings_differ(std::size_t node) const;
  std::string came_back(std::size_t node) const;
  bool still_counts(const Collection& collection) const;
  std::set<Removal> removed_at(std::size_t node) const;

  struct Seen {  // by one life of a node
    std::uint64_t life = 0;
    crdt::Epoch epoch;
    std::map<crdt::NodeId, crdt::Member> members;
    std::set<Removal> removed;
    crdt::Stamp horizon;
    bool partitioned = false;
  };

  const Scenario& scenario_;
  SimCluster& cluster_;
  const Workload& workload_;
  std::vector<Seen> seen_;
  std::map<std::string, std::vector<Collection>> collected_;  // by name
  std::uint64_t partitions_ = 0;
  std::optional<std::pair<std::size_t, std::size_t>> cut_;
};

}  // namespace dualmesh::sim
