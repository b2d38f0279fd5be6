// Ring parameters that change while the mesh serves: node by node, as a new generation.
#include <doctest/doctest.h>

#include "tests/sim/settled.h"

using namespace dualmesh;
using sim::SimCluster;
using sim::start_and_settle;

namespace {

void reconfigure(sim::SimNode& node, std::uint32_t generation, std::uint32_t block_bytes,
                 std::uint32_t points) {
  node.config.ring_generation = generation;
  node.config.chain.block_bytes = block_bytes;
  node.config.ring.points_per_weight = points;
}

// Every running node routes by this generation, by the same rings.
bool all_use(SimCluster& cluster, std::uint32_t generation, std::uint32_t block_bytes) {
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const auto& view = *cluster.node(i).mesh->view();
    if (view.parameters.generation != generation || view.chain.block_bytes != block_bytes ||
        view.chain != cluster.node(0).mesh->view()->chain || !view.rings_agree ||
        view.ring_digest != cluster.node(0).mesh->view()->ring_digest) {
      return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("new ring parameters node by node, under load: rings agree at each step") {
  SimCluster cluster(71);
  start_and_settle(cluster, 5);
  const auto before = cluster.node(0).mesh->view()->ring_digest;
  for (std::size_t i = 0; i < 5; ++i) {
    CAPTURE(i);
    cluster.crash(i);
    for (int change = 0; change < 20; ++change) {
      cluster.change_something();
      cluster.run_for(10);
    }
    reconfigure(cluster.node(i), 2, 4096, 100);
    cluster.start(i);
    CHECK(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 10'000) >=
          0);
    // The first one to say so is followed by all, those with the old configuration too.
    CHECK(cluster.run_until([&] { return all_use(cluster, 2, 4096); }, 1'000) >= 0);
    CHECK(cluster.node(4).mesh->view()->ring_digest != before);
    CHECK(cluster.node(i).mesh->peers().refusals().empty());
  }
}

TEST_CASE("what a node placed by the old parameters leaves the mesh with them") {
  SimCluster cluster(72);
  start_and_settle(cluster, 3);
  cluster.node(0).host.say_placement(0, {1, 2, 3});
  cluster.node(0).mesh->local_changes();
  const auto held = [&](std::size_t at) {
    const auto* column = cluster.node(at).mesh->state().residencies().find(crdt::node_id_of("n0"));
    return column == nullptr ? std::size_t{0} : column->feed.size();
  };
  REQUIRE(cluster.run_until([&] { return held(1) == 3; }, 1'000) >= 0);
  cluster.crash(2);
  cluster.run_for(100);
  reconfigure(cluster.node(2), 2, 1024, 160);
  cluster.start(2);
  CHECK(cluster.run_until([&] { return cluster.converged() && all_use(cluster, 2, 1024); },
                          10'000) >= 0);
  CHECK(cluster.node(0).mesh->state().own_residency().size() == 0);
  CHECK(held(1) == 0);
  CHECK(held(2) == 0);
}

TEST_CASE("a generation raised on each side of a partition: the higher one holds after the heal") {
  SimCluster cluster(73);
  start_and_settle(cluster, 4);
  cluster.partition({0, 1});
  cluster.run_for(5'000);
  cluster.crash(1);
  cluster.crash(3);
  std::uint32_t other = 2;
  SUBCASE("one higher than the other") { other = 3; }
  SUBCASE("both the same, with different parameters") {}
  reconfigure(cluster.node(1), 2, 1024, 160);
  reconfigure(cluster.node(3), other, 512, 160);
  cluster.start(1);
  cluster.start(3);
  cluster.partition({0, 1});
  cluster.run_for(6'000);
  CHECK(cluster.node(0).mesh->view()->chain.block_bytes == 1024);
  CHECK(cluster.node(2).mesh->view()->chain.block_bytes == 512);
  cluster.heal();
  if (other == 3) {
    CHECK(cluster.run_until([&] { return cluster.converged() && all_use(cluster, 3, 512); },
                            8'000) >= 0);
  } else {
    // An operator's mistake that no rule can repair: the two halves refuse each other and say why.
    cluster.run_for(8'000);
    CHECK(cluster.node(0).mesh->peers().last_refusal().find("both of ring generation 2") !=
          std::string::npos);
    CHECK(cluster.node(0).mesh->ready());
    CHECK(cluster.node(2).mesh->ready());
  }
}

TEST_CASE("a node with an old configuration joins a mesh of a higher generation and follows it") {
  SimCluster cluster(74);
  cluster.add_many(3);
  for (std::size_t i = 0; i < 2; ++i) reconfigure(cluster.node(i), 5, 1024, 80);
  cluster.start(0);
  cluster.start(1);
  REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 3'000) >=
          0);
  cluster.start(2);
  CHECK(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 5'000) >= 0);
  CHECK(cluster.run_until([&] { return all_use(cluster, 5, 1024); }, 1'000) >= 0);
}
