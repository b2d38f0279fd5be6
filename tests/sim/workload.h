// Workload: changes of every kind at random nodes, and the truth about them.
//
// The truth is kept apart from the nodes: what each living node's request path said last of its
// load. It is what the checkers compare the views with.
//
// Threads: none; the cluster's.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/sim/scenario.h"

namespace dualmesh::sim {

class Workload {
 public:
  Workload(SimCluster& cluster, Dice& dice) : cluster_(cluster), dice_(dice) {}

  void change();                                     // one, anywhere
  void burst(std::size_t node, std::size_t blocks);  // more than a push may carry
  void finish_requests();                            // every running node says zero of everything
  void forget(std::size_t node) { said_[node].clear(); }  // its life is over

  // What `observer` must count for an instance: the others' last words.
  policies::Load truth(std::size_t observer, const std::string& instance) const;
  // What an administrator's command did not do at the very node that took it; empty: nothing.
  const std::string& disobeyed() const { return disobeyed_; }
  std::uint64_t removals() const { return removals_; }

 private:
  void say_load(std::size_t node);
  void place(std::size_t node);
  void administer(std::size_t node);
  void expect(std::size_t node, const std::string& instance, policies::Lifecycle lifecycle);
  std::string some_name();

  SimCluster& cluster_;
  Dice& dice_;
  std::map<std::size_t, std::map<std::string, policies::Load>> said_;  // by node and instance
  std::string disobeyed_;
  std::uint64_t removals_ = 0;
};

}  // namespace dualmesh::sim
