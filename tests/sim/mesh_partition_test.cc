// What a partition does to a mesh that is administered on both sides, and what heals by itself.
#include <doctest/doctest.h>

#include "tests/sim/settled.h"

using namespace dualmesh;
using crdt::MemberStatus;
using policies::Lifecycle;
using sim::SimCluster;
using sim::start_and_settle;

namespace {

std::string told(sim::SimNode& at) { return node::describe(at.mesh->partition(), at.mesh->now()); }

bool has_ring(sim::SimNode& at, const std::vector<std::string>& names) {
  const auto& view = *at.mesh->view();
  std::vector<std::string> active;
  for (const policies::Slot slot : view.models.at("m").active) {
    active.push_back(view.instances[slot].name);
  }
  return active == names;
}

MemberStatus status_of(sim::SimNode& at, const std::string& name) {
  return at.mesh->state().members().find(crdt::node_id_of(name))->status;
}

}  // namespace

TEST_CASE("commands on both sides of a partition are one mesh's after the heal, by themselves") {
  SimCluster cluster(51);
  start_and_settle(cluster, 5);
  for (std::size_t i = 0; i < 5; ++i) CHECK(told(cluster.node(i)).empty());
  cluster.partition({0, 1});
  REQUIRE(cluster.run_until(
              [&] {
                return cluster.node(0).mesh->partition().unreachable == 3 &&
                       cluster.node(4).mesh->partition().unreachable == 2;
              },
              6'000) >= 0);
  CHECK(cluster.node(0).mesh->partition().of == 5);
  CHECK_FALSE(cluster.node(0).mesh->partition().has_majority());
  CHECK(cluster.node(4).mesh->partition().has_majority());
  CHECK(told(cluster.node(0)).find("3 of 5 members") != std::string::npos);
  CHECK(cluster.all_ready());

  // On one side an instance goes and another is told apart, on the other two come.
  auto& left = *cluster.node(0).mesh;
  auto& right = *cluster.node(3).mesh;
  REQUIRE(left.change("e1", Lifecycle::removed).has_value());
  REQUIRE(left.change(node::SeedInstance{"left", "10.0.1.1:9000", {"m"}, 1.0}).has_value());
  REQUIRE(right.change(node::SeedInstance{"right", "10.0.1.2:9000", {"m"}, 2.0}).has_value());
  REQUIRE(left.change("e2", Lifecycle::draining).has_value());
  cluster.run_for(500);
  REQUIRE(right.change("e2", Lifecycle::active).has_value());  // later, so it holds
  cluster.run_for(10'000);
  CHECK(has_ring(cluster.node(1), {"e0", "left"}));
  CHECK(has_ring(cluster.node(4), {"e0", "e1", "e2", "right"}));
  CHECK(cluster.node(1).mesh->view()->rings_agree);  // with all who are reachable
  CHECK(cluster.node(4).mesh->view()->rings_agree);

  cluster.heal();
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 8'000) >= 0);
  cluster.run_for(100);
  for (std::size_t i = 0; i < 5; ++i) {
    CAPTURE(i);
    CHECK(has_ring(cluster.node(i), {"e0", "e2", "left", "right"}));
    CHECK(cluster.node(i).mesh->view()->ring_digest == cluster.node(0).mesh->view()->ring_digest);
    CHECK(cluster.node(i).mesh->view()->rings_agree);
    CHECK(told(cluster.node(i)).empty());
  }
}

TEST_CASE("policies set on both sides show as a conflict until one is set again") {
  SimCluster cluster(52);
  start_and_settle(cluster, 4);
  cluster.partition({0, 1});
  cluster.run_for(5'000);
  REQUIRE(cluster.node(0).mesh->set_policy("round_robin").has_value());
  REQUIRE(cluster.node(2).mesh->set_policy("dualmap").has_value());
  cluster.heal();
  REQUIRE(cluster.run_until([&] { return cluster.converged(); }, 8'000) >= 0);
  cluster.run_for(100);
  const auto* row = cluster.node(3).mesh->state().settings().find({node::kPolicySetting});
  REQUIRE(row != nullptr);
  CHECK(row->siblings().size() == 2);
  for (std::size_t i = 1; i < 4; ++i) {
    CHECK(cluster.node(i).mesh->view()->settings == cluster.node(0).mesh->view()->settings);
  }
  REQUIRE(cluster.node(3).mesh->set_policy("round_robin").has_value());
  CHECK(cluster.run_until(
            [&] {
              for (std::size_t i = 0; i < 4; ++i) {
                const auto& settings = cluster.node(i).mesh->state().settings();
                if (settings.find({node::kPolicySetting})->siblings().size() != 1) return false;
              }
              return true;
            },
            1'000) >= 0);
}

TEST_CASE("a node that joins one side during a partition is known on the other after it") {
  SimCluster cluster(53);
  start_and_settle(cluster, 4);
  cluster.add("late");
  cluster.partition({0, 1});
  cluster.node(4).config.seeds = {"n3:7000"};
  cluster.network().set_cut("late:7000", "n0:7000", true);
  cluster.network().set_cut("late:7000", "n1:7000", true);
  cluster.start(4);
  // Of those it cannot reach it has heard; it becomes ready without their state, and says so.
  CHECK(cluster.run_until([&] { return cluster.node(4).mesh->ready(); }, 20'000) >= 0);
  CHECK(cluster.run_until([&] { return cluster.node(4).mesh->partition().unreachable == 2; },
                          10'000) >= 0);
  cluster.heal();
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 8'000) >= 0);
  CHECK(cluster.node(0).mesh->view()->live_nodes == 5);
}

TEST_CASE("a node that was paused for ten seconds refutes, and is believed") {
  SimCluster cluster(54);
  start_and_settle(cluster, 6);
  cluster.run_for(1'000);
  cluster.pause(5);
  CHECK(cluster.run_until([&] { return status_of(cluster.node(0), "n5") == MemberStatus::dead; },
                          4'000) >= 0);
  cluster.run_for(6'000);
  cluster.resume(5);
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 5'000) >= 0);
  CHECK(cluster.node(5).mesh->refutations() > 0);
  CHECK(cluster.node(5).mesh->peers().detector().health().score() > 0);
  // It accuses nobody of the silence, and its doubt in itself passes.
  cluster.run_for(10'000);
  CHECK(cluster.node(5).mesh->peers().detector().own_pauses() > 0);
  CHECK(cluster.node(5).mesh->peers().counters().suspicions == 0);
  CHECK(cluster.node(5).mesh->peers().detector().health().score() == 0);
}

TEST_CASE(
    "the others' accusations confirm each other: a silent node is dead to all in four seconds") {
  for (std::uint64_t seed = 60; seed < 70; ++seed) {
    CAPTURE(seed);
    SimCluster cluster(seed);
    start_and_settle(cluster, 8);
    cluster.run_for(static_cast<double>(seed % 7) * 37);
    cluster.vanish(7);
    const double took = cluster.run_until(
        [&] {
          for (std::size_t i = 0; i < 7; ++i) {
            if (status_of(cluster.node(i), "n7") != MemberStatus::dead) return false;
          }
          return true;
        },
        4'000);
    CHECK(took > 0);
  }
}
