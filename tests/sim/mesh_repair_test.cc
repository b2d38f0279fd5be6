// What goes wrong between nodes and must come right by itself: clocks, lives, lost rows, refusals.
#include <doctest/doctest.h>

#include "tests/sim/sim_cluster.h"

namespace dualmesh::sim {
namespace {

void start_and_settle(SimCluster& cluster, std::size_t count) {
  cluster.add_many(count);
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 3'000) >=
          0);
}

std::uint32_t others_queued(SimNode& at, std::size_t slot) {
  return at.mesh->view()->instances[slot].others.queued_requests;
}

void say_load(SimNode& at, policies::Slot slot, std::uint32_t queued) {
  policies::Load load;
  load.queued_requests = queued;
  at.host.say_load(slot, load);
  at.mesh->local_changes();
}

}  // namespace

TEST_CASE("pushes go on when the epoch rises while a hello is under way") {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6, 7, 8}) {
    CAPTURE(seed);
    SimCluster cluster(seed);
    cluster.add_many(3);
    cluster.node(2).config.seeds = {"n0:7000"};
    // n1 knew the former life of n0, n2 has never heard of it.
    cluster.start(0);
    cluster.start(1);
    REQUIRE(cluster.run_until([&] { return cluster.all_ready(); }, 3'000) >= 0);
    cluster.crash(0);
    cluster.network().set_cut("n1:7000", "n2:7000", true);
    cluster.start(2);
    cluster.node(0).clock_skew_ms = -60'000;
    cluster.node(0).config.seeds = {"n1:7000", "n2:7000"};
    cluster.start(0);
    cluster.run_for(2'000);
    REQUIRE(cluster.node(0).mesh->epoch_raises() > 0);
    say_load(cluster.node(0), 0, 5);
    CHECK(cluster.run_until([&] { return others_queued(cluster.node(2), 0) == 5; }, 1'000) >= 0);
    for (const auto& [node, peer] : cluster.node(0).mesh->peers().all()) {
      CHECK(peer->link != nullptr);
      CHECK(peer->synchronised);
    }
  }
}

TEST_CASE("a peer that raised its epoch without losing our link is met anew") {
  SimCluster cluster(31);
  start_and_settle(cluster, 3);
  auto& raising = *cluster.node(1).mesh;
  const crdt::Epoch before = raising.state().self().epoch;
  crdt::Member rumour = raising.state().self_member();
  rumour.epoch = crdt::Epoch{before.value + 1'000};
  cluster.node(2).mesh->state().join_member(raising.state().self().node, rumour);
  cluster.run_for(3'000);
  const crdt::Epoch after = raising.state().self().epoch;
  REQUIRE(after > rumour.epoch);
  for (const std::size_t i : {0, 2}) {
    const auto* peer = cluster.node(i).mesh->peers().find(raising.state().self().node);
    REQUIRE(peer != nullptr);
    CHECK(peer->epoch == after);
    CHECK(peer->synchronised);
  }
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 2'000) >= 0);
}

}  // namespace dualmesh::sim
