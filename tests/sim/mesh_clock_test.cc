// What a node said while its clock was ahead, once the clock has been set right.
#include <doctest/doctest.h>

#include "tests/sim/settled.h"

namespace dualmesh::sim {
namespace {

constexpr std::int64_t kTwoHoursMs = 7'200'000;

policies::Lifecycle lifecycle_of(SimCluster& cluster, std::size_t node, const char* instance) {
  return cluster.node(node).mesh->registry().find(instance)->lifecycle;
}

}  // namespace

TEST_CASE("commands given while the clock was ahead reach everyone once it has been set right") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    SimCluster cluster(seed);
    start_and_settle(cluster, 4);
    SimNode& ahead = cluster.node(1);
    ahead.clock_skew_ms = kTwoHoursMs;
    cluster.run_for(1'000);
    REQUIRE(ahead.mesh->change(node::SeedInstance{"x1", "10.0.1.1:9000", {"m"}, 1.0}).has_value());
    REQUIRE(ahead.mesh->set_policy("round_robin").has_value());
    cluster.run_for(2'000);
    REQUIRE_FALSE(cluster.node(0).mesh->registry().find("x1").has_value());
    ahead.clock_skew_ms = 0;
    CHECK(cluster.run_until([&] { return cluster.converged(); }, 4'000) >= 0);
    for (std::size_t i = 0; i < cluster.size(); ++i) {
      REQUIRE(cluster.node(i).mesh->registry().find("x1").has_value());
      CHECK(cluster.node(i).mesh->view()->settings.policy == "round_robin");
    }
    // And what it says from now on is taken at once.
    REQUIRE(ahead.mesh->change("x1", policies::Lifecycle::draining).has_value());
    CHECK(cluster.run_until([&] { return cluster.converged(); }, 500) >= 0);
    CHECK(lifecycle_of(cluster, 3, "x1") == policies::Lifecycle::draining);
  }
}

TEST_CASE("a command counts from when it was given, not from when the clock was set right") {
  SimCluster cluster(51);
  start_and_settle(cluster, 3);
  SimNode& ahead = cluster.node(1);
  ahead.clock_skew_ms = kTwoHoursMs;
  cluster.run_for(1'000);
  REQUIRE(ahead.mesh->change("e1", policies::Lifecycle::removed).has_value());
  cluster.run_for(1'000);
  REQUIRE(cluster.node(0).mesh->change("e1", policies::Lifecycle::draining).has_value());
  cluster.run_for(1'000);
  ahead.clock_skew_ms = 0;
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 4'000) >= 0);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lifecycle_of(cluster, i, "e1") == policies::Lifecycle::draining);
  }
}

TEST_CASE("a clock that goes back wrongly changes no stamp that others hold") {
  SimCluster cluster(52);
  start_and_settle(cluster, 3);
  cluster.node(1).clock_skew_ms = -kTwoHoursMs;
  REQUIRE(cluster.node(1).mesh->change("e1", policies::Lifecycle::draining).has_value());
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 500) >= 0);
  const auto digest = cluster.node(0).mesh->state().registry_digest();
  cluster.run_for(20'000);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(cluster.node(i).mesh->state().registry_digest() == digest);
    CHECK(lifecycle_of(cluster, i, "e1") == policies::Lifecycle::draining);
  }
}

TEST_CASE("commands on the disk of a node whose clock was ahead reach everyone after a restart") {
  SimCluster cluster(53);
  start_and_settle(cluster, 3);
  SimNode& ahead = cluster.node(1);
  ahead.clock_skew_ms = kTwoHoursMs;
  REQUIRE(ahead.mesh->change("e1", policies::Lifecycle::removed).has_value());
  const auto registry = ahead.mesh->state().registry().delta_since({}, 1'000);
  cluster.crash(1);
  ahead.before_start = [=](node::MeshNode& mesh) { mesh.restore(registry, {}); };
  ahead.clock_skew_ms = 0;
  cluster.run_for(1'000);
  cluster.start(1);
  CHECK(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 6'000) >= 0);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(lifecycle_of(cluster, i, "e1") == policies::Lifecycle::removed);
  }
}

}  // namespace dualmesh::sim
