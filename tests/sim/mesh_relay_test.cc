// What two nodes without a link know of each other: a third one passes it on.
#include <doctest/doctest.h>

#include "tests/sim/sim_cluster.h"

using namespace dualmesh;
using sim::SimCluster;

namespace {

void start_with_engine(SimCluster& cluster, std::size_t nodes) {
  cluster.add_many(nodes);
  for (std::size_t i = 0; i < nodes; ++i) {
    cluster.node(i).config.instances = {{"e0", "127.0.0.1:9000", {"m"}, 1.0}};
  }
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 20'000) >=
          0);
}

void say_queued(sim::SimNode& node, std::uint32_t requests) {
  policies::Load load;
  load.queued_requests = requests;
  node.host.say_load(0, load);
  node.mesh->local_changes();
}

std::uint32_t others_queued(const sim::SimNode& node) {
  return node.mesh->view()->instances.at(0).others.queued_requests;
}

std::uint64_t relayed(const sim::SimNode& node) { return node.mesh->state().counters().relayed; }

}  // namespace

TEST_CASE("load crosses a cut link through a third node, and goes directly again after it") {
  SimCluster cluster(38);
  start_with_engine(cluster, 3);
  say_queued(cluster.node(1), 5);
  REQUIRE(cluster.run_until([&] { return others_queued(cluster.node(0)) == 5; }, 1'000) >= 0);
  CHECK(relayed(cluster.node(0)) == 0);

  cluster.network().set_cut("n0:7000", "n1:7000", true);
  cluster.run_for(200);
  say_queued(cluster.node(1), 7);
  CHECK(cluster.run_until([&] { return others_queued(cluster.node(0)) == 7; }, 3'000) >= 0);
  CHECK(relayed(cluster.node(0)) > 0);
  CHECK(relayed(cluster.node(2)) == 0);
  // From now on it takes no longer than two hops.
  say_queued(cluster.node(1), 8);
  CHECK(cluster.run_until([&] { return others_queued(cluster.node(0)) == 8; }, 100) >= 0);
  // A node that stays silent for long says nothing new, and is believed as long as its relay is.
  cluster.run_for(10'000);
  CHECK(others_queued(cluster.node(0)) == 8);
  CHECK(cluster.node(0).mesh->view()->live_nodes == 3);

  cluster.heal();
  CHECK(
      cluster.run_until(
          [&] { return !cluster.node(0).mesh->peers().relays().relay_of(crdt::node_id_of("n1")); },
          5'000) >= 0);
  cluster.run_for(500);
  const std::uint64_t before = relayed(cluster.node(0));
  say_queued(cluster.node(1), 9);
  CHECK(cluster.run_until([&] { return others_queued(cluster.node(0)) == 9; }, 1'000) >= 0);
  cluster.run_for(500);
  CHECK(relayed(cluster.node(0)) == before);
}

TEST_CASE("a relay that dies is replaced by the next one") {
  SimCluster cluster(39);
  start_with_engine(cluster, 5);
  cluster.network().set_cut("n0:7000", "n1:7000", true);
  say_queued(cluster.node(1), 1);
  const crdt::NodeId n1 = crdt::node_id_of("n1");
  REQUIRE(cluster.run_until([&] { return others_queued(cluster.node(0)) == 1; }, 3'000) >= 0);
  const auto first = cluster.node(0).mesh->peers().relays().relay_of(n1);
  REQUIRE(first);
  for (std::size_t i = 2; i < 5; ++i) {
    if (crdt::node_id_of("n" + std::to_string(i)) == *first) cluster.crash(i);
  }
  say_queued(cluster.node(1), 2);
  CHECK(cluster.run_until([&] { return others_queued(cluster.node(0)) == 2; }, 8'000) >= 0);
  CHECK(cluster.node(0).mesh->peers().relays().relay_of(n1) != first);
}

TEST_CASE("nothing of a dead writer is kept alive by relays") {
  SimCluster cluster(40);
  start_with_engine(cluster, 4);
  cluster.network().set_cut("n0:7000", "n1:7000", true);
  cluster.network().set_cut("n0:7000", "n2:7000", true);
  say_queued(cluster.node(1), 3);
  REQUIRE(cluster.run_until([&] { return others_queued(cluster.node(0)) == 3; }, 4'000) >= 0);
  cluster.crash(1);
  CHECK(cluster.run_until([&] { return others_queued(cluster.node(0)) == 0; }, 5'000) >= 0);
  cluster.heal();
  cluster.run_for(5'000);
  for (const std::size_t i : {0, 2, 3}) {
    CHECK(cluster.node(i).mesh->state().loads().find(crdt::node_id_of("n1")) == nullptr);
  }
}
