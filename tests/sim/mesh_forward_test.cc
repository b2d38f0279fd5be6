// Who sends a row of a table to whom: its writer at once, others only to a peer that lacks it.
#include <doctest/doctest.h>

#include "tests/sim/sim_cluster.h"

using namespace dualmesh;
using sim::SimCluster;

namespace {

void start_and_hear(SimCluster& cluster, std::size_t nodes) {
  cluster.add_many(nodes);
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 20'000) >=
          0);
  cluster.run_for(3'000);
}

void add_instances(sim::SimNode& node, const std::string& prefix, int count) {
  for (int i = 0; i < count; ++i) {
    const std::string name = prefix + std::to_string(i);
    const node::SeedInstance instance{name, name + ".example:9000", {"m"}, 1.0};
    REQUIRE(node.mesh->change(instance).has_value());
  }
}

std::uint64_t bytes_sent(SimCluster& cluster) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (!cluster.node(i).up()) continue;
    for (const auto& [node, peer] : cluster.node(i).mesh->peers().all()) {
      bytes += peer->replicator->stats().bytes_sent;
    }
  }
  return bytes;
}

bool all_know(SimCluster& cluster, const std::string& instance) {
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (cluster.node(i).up() && !cluster.node(i).mesh->registry().find(instance)) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("a change of the registry crosses each link of its writer once, and no other") {
  SimCluster cluster(51);
  start_and_hear(cluster, 8);
  add_instances(cluster.node(0), "x", 1);
  REQUIRE(cluster.run_until([&] { return all_know(cluster, "x0"); }, 1'000) >= 0);
  cluster.run_for(3'000);
  const std::uint64_t before = bytes_sent(cluster);
  add_instances(cluster.node(0), "y", 200);
  REQUIRE(cluster.run_until([&] { return cluster.converged(); }, 2'000) >= 0);
  cluster.run_for(3'000);
  const std::uint64_t size = 200 * 4 * 130;  // four fields of each, names and stamps included
  CHECK(bytes_sent(cluster) - before < 2 * 7 * size);
}

TEST_CASE("what a dead writer told only one node reaches all") {
  SimCluster cluster(52);
  start_and_hear(cluster, 5);
  for (int i = 2; i < 5; ++i) {
    cluster.network().set_cut("n0:7000", "n" + std::to_string(i) + ":7000", true);
  }
  add_instances(cluster.node(0), "last", 1);
  REQUIRE(cluster.run_until(
              [&] { return cluster.node(1).mesh->registry().find("last0").has_value(); }, 500) >=
          0);
  cluster.crash(0);
  CHECK(cluster.run_until([&] { return all_know(cluster, "last0"); }, 3'000) >= 0);
}

TEST_CASE("after a partition each side hears what the other wrote, once") {
  SimCluster cluster(53);
  start_and_hear(cluster, 8);
  cluster.partition({0, 1, 2, 3});
  cluster.run_for(20'000);
  for (std::size_t i = 0; i < 8; ++i)
    add_instances(cluster.node(i), "p" + std::to_string(i) + "-", 100);
  cluster.run_for(5'000);
  const std::uint64_t before = bytes_sent(cluster);
  cluster.heal();
  const double ms = cluster.run_until([&] { return cluster.converged(); }, 10'000);
  REQUIRE(ms >= 0);
  cluster.run_for(3'000);
  // Each of 8 nodes lacked 400 instances of four fields.
  const std::uint64_t size = 8 * 400 * 4 * 130;
  MESSAGE("converged after " << ms << " ms; sent " << bytes_sent(cluster) - before << " of "
                             << size);
  CHECK(bytes_sent(cluster) - before < 2 * size);
}
