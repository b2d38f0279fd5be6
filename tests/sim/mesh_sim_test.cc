// Whole meshes in virtual time. Every bound here is in virtual milliseconds and exact for its seed.
#include <doctest/doctest.h>

#include "tests/sim/settled.h"

namespace dualmesh::sim {
namespace {

using crdt::MemberStatus;

MemberStatus status_of(SimNode& at, const std::string& name) {
  const auto* member = at.mesh->state().members().find(crdt::node_id_of(name));
  REQUIRE(member != nullptr);
  return member->status;
}

std::uint32_t live_nodes(SimNode& at) { return at.mesh->view()->live_nodes; }

// What the views say of others' load must be the sum of what the other running nodes said last.
void check_loads(SimCluster& cluster) {
  cluster.run_for(20);  // a view follows the state by up to 5 ms
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (!cluster.node(i).up()) continue;
    for (const auto& instance : cluster.node(i).mesh->view()->instances) {
      policies::Load expected;
      for (std::size_t j = 0; j < cluster.size(); ++j) {
        if (j == i || !cluster.node(j).up()) continue;
        const auto* said = cluster.node(j).mesh->state().own_load().find(instance.id);
        if (said == nullptr) continue;
        expected.queued_requests += said->queued_requests;
        expected.queued_tokens += said->queued_tokens;
      }
      CAPTURE(i);
      CAPTURE(instance.name);
      CHECK(instance.others.queued_requests == expected.queued_requests);
      CHECK(instance.others.queued_tokens == expected.queued_tokens);
    }
  }
}

}  // namespace

TEST_CASE("meshes of two to eight nodes converge after random changes") {
  for (const std::size_t count : {2, 3, 5, 8}) {
    CAPTURE(count);
    SimCluster cluster(count * 7);
    start_and_settle(cluster, count);
    for (int i = 0; i < 200; ++i) {
      cluster.change_something();
      cluster.run_for(3);
    }
    CHECK(cluster.run_until([&] { return cluster.converged(); }, 1'500) >= 0);
    check_loads(cluster);
    for (std::size_t i = 1; i < count; ++i) {
      CHECK(cluster.node(i).mesh->view()->ring_digest == cluster.node(0).mesh->view()->ring_digest);
      CHECK(cluster.node(i).mesh->view()->settings == cluster.node(0).mesh->view()->settings);
      CHECK(cluster.node(i).mesh->view()->rings_agree);
    }
  }
}

TEST_CASE("a lone load change is in the view of all seven others within a few round trips") {
  SimCluster cluster(3);
  start_and_settle(cluster, 8);
  cluster.run_for(500);
  policies::Load load;
  load.queued_requests = 9;
  cluster.node(0).host.say_load(1, load);
  cluster.node(0).mesh->local_changes();
  const double took = cluster.run_until(
      [&] {
        for (std::size_t i = 1; i < 8; ++i) {
          const auto seen =
              cluster.node(i).host.instance(cluster.node(0).mesh->view()->instances[1].name);
          if (!seen || seen->others.queued_requests != 9) return false;
        }
        return true;
      },
      1'000);
  CHECK(took >= 0);
  CHECK(took <= 10);  // one way is at most 1 ms here, and the first change waits for nothing
}

TEST_CASE("what nobody waits for is told at a quarter of the pace, and all else at the whole") {
  SimCluster cluster(5);
  start_and_settle(cluster, 2);
  SimNode& teller = cluster.node(0);
  const auto pushes = [&] {
    return teller.mesh->peers().all().begin()->second->replicator->stats().pushes;
  };
  const auto say = [&](std::uint32_t queued, std::uint32_t decoding) {
    policies::Load load;
    load.queued_requests = queued;
    load.decoding_requests = decoding;
    teller.host.say_load(1, load);
    teller.mesh->local_changes();
  };
  const auto pushes_in_two_seconds = [&](std::uint32_t queued) {
    const std::uint64_t before = pushes();
    for (std::uint32_t i = 0; i < 1'000; ++i) {
      say(queued, 1 + i);
      cluster.run_for(2);
    }
    return pushes() - before;
  };
  const std::uint64_t slight = pushes_in_two_seconds(0);
  CHECK(slight >= 18);
  CHECK(slight <= 22);
  const std::uint64_t awaited = pushes_in_two_seconds(1);
  CHECK(awaited >= 60);
  CHECK(awaited <= 90);

  // Nor does what has to be heard wait for what has not.
  pushes_in_two_seconds(0);
  say(7, 1);
  const std::string& name = teller.mesh->view()->instances[1].name;
  CHECK(cluster.run_until(
            [&] { return cluster.node(1).host.instance(name)->others.queued_requests == 7; },
            1'000) <= 35);
}

TEST_CASE("a partition is survived by both sides and heals by itself") {
  SimCluster cluster(11);
  start_and_settle(cluster, 5);
  cluster.partition({0, 1});
  REQUIRE(cluster.run_until(
              [&] {
                return live_nodes(cluster.node(0)) == 2 && live_nodes(cluster.node(1)) == 2 &&
                       live_nodes(cluster.node(2)) == 3 && live_nodes(cluster.node(4)) == 3;
              },
              6'000) >= 0);
  CHECK(cluster.all_ready());  // both sides go on serving
  for (int i = 0; i < 100; ++i) {
    cluster.change_something();
    cluster.run_for(20);
  }
  cluster.heal();
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 8'000) >= 0);
  check_loads(cluster);
}

TEST_CASE("a killed node's load is gone everywhere within four seconds") {
  SimCluster cluster(5);
  start_and_settle(cluster, 4);
  policies::Load load;
  load.queued_requests = 5;
  cluster.node(3).host.say_load(0, load);
  cluster.node(3).mesh->local_changes();
  cluster.run_for(100);
  REQUIRE(cluster.node(0).mesh->view()->instances[0].others.queued_requests == 5);
  SUBCASE("by kill -9") { cluster.crash(3); }
  SUBCASE("by silence") { cluster.partition({3}); }
  const double took = cluster.run_until(
      [&] {
        for (std::size_t i = 0; i < 3; ++i) {
          for (const auto& instance : cluster.node(i).mesh->view()->instances) {
            if (instance.others.queued_requests != 0) return false;
          }
        }
        return true;
      },
      4'000);
  CHECK(took > 0);
  // Its load goes first, its death is agreed within the same four seconds.
  CHECK(cluster.run_until([&] { return status_of(cluster.node(0), "n3") == MemberStatus::dead; },
                          4'000 - took) >= 0);
}

TEST_CASE("a node that was silent for ten seconds comes back by refuting its death") {
  SimCluster cluster(6);
  start_and_settle(cluster, 4);
  const auto epoch = cluster.node(3).mesh->state().self().epoch;
  cluster.partition({3});
  cluster.run_for(10'000);
  REQUIRE(status_of(cluster.node(0), "n3") == MemberStatus::dead);
  cluster.heal();
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 5'000) >= 0);
  CHECK(status_of(cluster.node(0), "n3") == MemberStatus::alive);
  CHECK(cluster.node(0).mesh->state().members().find(crdt::node_id_of("n3"))->refutations > 0);
  CHECK(cluster.node(3).mesh->state().self().epoch == epoch);
}

TEST_CASE("a link cut between two nodes accuses nobody while others reach both") {
  SimCluster cluster(8);
  start_and_settle(cluster, 4);
  cluster.network().set_cut(cluster.node(0).address, cluster.node(1).address, true);
  for (int i = 0; i < 200; ++i) {
    cluster.run_for(50);
    REQUIRE(status_of(cluster.node(0), "n1") != MemberStatus::dead);
    REQUIRE(status_of(cluster.node(1), "n0") != MemberStatus::dead);
  }
}

TEST_CASE("a restarted node has a higher epoch and replaces what it said before") {
  SimCluster cluster(9);
  start_and_settle(cluster, 3);
  policies::Load load;
  load.queued_requests = 7;
  cluster.node(2).host.say_load(0, load);
  cluster.node(2).mesh->local_changes();
  cluster.run_for(50);
  const auto before = cluster.node(2).mesh->state().self().epoch;
  cluster.crash(2);
  cluster.run_for(200);
  SUBCASE("with a good clock") {}
  SUBCASE("with its clock set back by a minute") { cluster.node(2).clock_skew_ms = -60'000; }
  cluster.start(2);
  const double took =
      cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 5'000);
  CHECK(took >= 0);
  CHECK(cluster.node(2).mesh->state().self().epoch > before);
  CHECK(cluster.node(0).mesh->view()->instances[0].others == policies::Load{});
}

TEST_CASE("an administrator's drain and remove reach all, and the rings agree again") {
  SimCluster cluster(10);
  start_and_settle(cluster, 6);
  const auto before = cluster.node(0).mesh->view()->ring_digest;
  REQUIRE(cluster.node(4).mesh->change("e1", policies::Lifecycle::draining).has_value());
  REQUIRE(cluster.node(2).mesh->change("e2", policies::Lifecycle::removed).has_value());
  const double took = cluster.run_until(
      [&] {
        for (std::size_t i = 0; i < 6; ++i) {
          const auto& view = *cluster.node(i).mesh->view();
          if (view.models.at("m").active.size() != 1 || !view.rings_agree) return false;
          if (view.ring_digest != cluster.node(0).mesh->view()->ring_digest) return false;
        }
        return true;
      },
      1'000);
  CHECK(took >= 0);
  CHECK(took <= 50);
  CHECK(cluster.node(0).mesh->view()->ring_digest != before);
  CHECK(cluster.node(5).mesh->registry().find("e2")->lifecycle == policies::Lifecycle::removed);
  // Discovery of the removed instance's address does not bring it back; the administrator does.
  cluster.node(3).mesh->instances_found({{"10.0.0.3:9000", "10.0.0.3:9000", {"m"}, 1.0}});
  cluster.run_for(200);
  CHECK(cluster.node(0).mesh->view()->models.at("m").active.size() == 1);
  REQUIRE(cluster.node(3)
              .mesh->change(node::SeedInstance{"e2", "10.0.0.3:9000", {"m"}, 1.0})
              .has_value());
  CHECK(cluster.run_until(
            [&] { return cluster.node(0).mesh->view()->models.at("m").active.size() == 2; }, 100) >=
        0);
}

TEST_CASE("a node of another cluster is refused, says why and is never ready") {
  SimCluster cluster(12);
  start_and_settle(cluster, 2);
  SimNode& stranger = cluster.add("stranger");
  SUBCASE("another cluster name") { stranger.config.cluster = "elsewhere"; }
  SUBCASE("another ring block") { stranger.config.chain.block_bytes = 1024; }
  SUBCASE("other ring points") { stranger.config.ring.points_per_weight = 7; }
  cluster.start(2);
  cluster.run_for(20'000);
  CHECK_FALSE(stranger.mesh->ready());
  CHECK(stranger.mesh->why_not_ready().find("refuses") != std::string::npos);
  CHECK_FALSE(stranger.mesh->peers().refusals().empty());
  CHECK_FALSE(cluster.node(0).mesh->peers().refusals().empty());
  CHECK(cluster.node(0).mesh->ready());
  CHECK(live_nodes(cluster.node(0)) == 2);
}

TEST_CASE("a second node of the same name is refused while the first lives") {
  SimCluster cluster(13);
  start_and_settle(cluster, 2);
  SimNode& twin = cluster.add("twin");
  twin.config.node_name = "n1";
  cluster.start(2);
  cluster.run_for(3'000);
  CHECK_FALSE(twin.mesh->ready());
  CHECK(twin.mesh->why_not_ready().find("'n1' is in use") != std::string::npos);
  CHECK(cluster.node(1).mesh->ready());
  CHECK(cluster.node(0).mesh->state().members().find(crdt::node_id_of("n1"))->mesh_address ==
        "n1:7000");
}

TEST_CASE("the first node of a mesh founds it, and two founders merge") {
  SimCluster cluster(14);
  cluster.add_many(2);
  cluster.partition({0});
  cluster.start_all();
  cluster.run_for(4'900);
  CHECK_FALSE(cluster.node(0).mesh->ready());
  cluster.run_for(1'000);
  CHECK(cluster.all_ready());
  CHECK(live_nodes(cluster.node(0)) == 1);
  CHECK(cluster.node(0).mesh->view()->depth == nullptr);  // alone: the author's own rule
  cluster.heal();
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 5'000) >= 0);
}

TEST_CASE("a node that leaves is gone at once, and nobody suspects it") {
  SimCluster cluster(15);
  start_and_settle(cluster, 3);
  bool done = false;
  cluster.node(2).mesh->leave(2'000, [&] { done = true; });
  CHECK(cluster.run_until([&] { return done; }, 200) >= 0);
  CHECK(live_nodes(cluster.node(0)) == 2);
  CHECK(status_of(cluster.node(0), "n2") == MemberStatus::left);
  cluster.crash(2);
  cluster.run_for(6'000);
  CHECK(cluster.node(0).mesh->peers().counters().suspicions == 0);
  cluster.start(2);
  CHECK(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 3'000) >= 0);
  CHECK(live_nodes(cluster.node(0)) == 3);
}

TEST_CASE("a joiner gets everything in pieces before it is ready") {
  SimCluster cluster(16);
  cluster.add_many(3);
  for (std::size_t i = 0; i < 3; ++i) cluster.node(i).config.max_push_bytes = 4'096;
  cluster.start(0);
  cluster.start(1);
  REQUIRE(cluster.run_until([&] { return cluster.all_ready(); }, 3'000) >= 0);
  std::vector<policies::BlockKey> blocks(5'000);
  for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  cluster.node(0).host.say_placement(0, blocks);
  cluster.node(0).mesh->local_changes();
  cluster.run_for(2'000);
  cluster.start(2);
  REQUIRE(cluster.run_until([&] { return cluster.node(2).mesh->ready(); }, 5'000) >= 0);
  CHECK(
      cluster.node(2)
          .host
          .learned(
              cluster.node(2).host.instance(cluster.node(0).mesh->view()->instances[0].name)->slot)
          .size() == 5'000);
}

TEST_CASE("placements are handed over so that the most recent stays the most recent") {
  SimCluster cluster(18);
  cluster.add_many(2);
  cluster.start(0);
  cluster.start(1);
  REQUIRE(cluster.run_until([&] { return cluster.all_ready(); }, 3'000) >= 0);
  cluster.run_for(1'000);
  // Two prompts between two looks of the mesh, so that they travel together.
  cluster.node(0).host.say_placement(0, {1, 2, 3});
  cluster.node(0).host.say_placement(0, {4, 5});
  cluster.node(0).mesh->local_changes();
  cluster.run_for(1'000);
  const auto& name = cluster.node(0).mesh->view()->instances[0].name;
  const auto slot = cluster.node(1).host.instance(name)->slot;
  CHECK(cluster.node(1).host.learned_in_order(slot) ==
        std::vector<policies::BlockKey>{3, 2, 1, 5, 4});
}

TEST_CASE("placements expire everywhere") {
  SimCluster cluster(17);
  cluster.add_many(2);
  for (std::size_t i = 0; i < 2; ++i) cluster.node(i).config.placement_ttl_s = 5;
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return cluster.all_ready(); }, 3'000) >= 0);
  cluster.node(0).host.say_placement(0, {1, 2, 3});
  cluster.node(0).mesh->local_changes();
  cluster.run_for(200);
  const auto held = [&] {
    const auto* column =
        cluster.node(1).mesh->state().residencies().find(cluster.node(0).mesh->state().self().node);
    return column == nullptr ? 0 : column->feed.size();
  };
  CHECK(held() == 3);
  cluster.run_for(6'500);
  CHECK(held() == 0);
  CHECK(cluster.converged());
}

TEST_CASE("the same seed gives the same run, another seed another") {
  const auto trace_of = [](std::uint64_t seed) {
    SimCluster cluster(seed);
    cluster.add_many(4);
    cluster.start_all();
    for (int i = 0; i < 100; ++i) {
      cluster.change_something();
      cluster.run_for(10);
      if (i == 40) cluster.crash(3);
      if (i == 80) cluster.start(3);
    }
    return cluster.trace();
  };
  CHECK(trace_of(21) == trace_of(21));
  CHECK(trace_of(21) != trace_of(22));
}

}  // namespace dualmesh::sim
