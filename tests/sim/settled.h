// A simulated mesh whose nodes have found each other.
//
// Threads: one.
#pragma once

#include <doctest/doctest.h>

#include "tests/sim/sim_cluster.h"

namespace dualmesh::sim {

// Returns when all of `count` new nodes are ready and have the same state; fails the test when that
// takes more than three seconds.
inline void start_and_settle(SimCluster& cluster, std::size_t count) {
  cluster.add_many(count);
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 3'000) >=
          0);
}

}  // namespace dualmesh::sim
