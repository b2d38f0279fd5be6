// LagWatch against what is known by hand and against a naive count; runs and plots.
#include <doctest/doctest.h>

#include <map>

#include "tests/sim/convergence_plot.h"
#include "tests/sim/convergence_text.h"

namespace dualmesh::sim {
namespace {

void run_watched(SimCluster& cluster, LagWatch& watch, double milliseconds) {
  for (double passed = 0.0; passed < milliseconds; passed += 1.0) {
    cluster.run_for(1.0);
    watch.look();
  }
}

void say_load(SimCluster& cluster, std::size_t node, std::uint32_t queued) {
  policies::Load load;
  load.queued_requests = queued;
  cluster.node(node).host.say_load(0, load);
  cluster.node(node).mesh->local_changes();
}

bool whole(const SimCluster& cluster) { return cluster.all_ready() && cluster.converged(); }

struct TwoNodes {
  SimCluster cluster{7};
  LagWatch watch{cluster};

  TwoNodes() {
    cluster.network().set_delay({1.0, 1.0});
    cluster.add_many(2);
    cluster.start_all();
    REQUIRE(cluster.run_until([this] { return whole(cluster); }, 10'000) >= 0);
    run_watched(cluster, watch, 1'000);
  }
};

TEST_CASE("nodes that hold the same are not behind") {
  TwoNodes mesh;
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(mesh.watch.behind(i).streams == 0);
    CHECK(mesh.watch.behind(i).changes == 0);
    CHECK_FALSE(mesh.watch.behind(i).since_ms.has_value());
  }
}

TEST_CASE("behind a cut, lag is the age of the first change on the other side") {
  TwoNodes mesh;
  SimCluster& cluster = mesh.cluster;
  cluster.partition({0});
  run_watched(cluster, mesh.watch, 100);
  CHECK(mesh.watch.behind(1).streams == 0);  // a cut alone hides nothing

  const double written_ms = cluster.now_ms();
  say_load(cluster, 0, 3);
  run_watched(cluster, mesh.watch, 200);
  LagWatch::Behind behind = mesh.watch.behind(1);
  CHECK(behind.streams == 1);
  CHECK(behind.changes == 1);
  REQUIRE(behind.since_ms.has_value());
  CHECK(*behind.since_ms == doctest::Approx(written_ms).epsilon(0.0002));
  CHECK(behind.lag_ms(cluster.now_ms()) == doctest::Approx(200.0).epsilon(0.01));

  // Later ones are more to catch up with, and not older; a table counts as a stream of its own.
  say_load(cluster, 0, 4);
  run_watched(cluster, mesh.watch, 50);
  say_load(cluster, 0, 5);
  REQUIRE(cluster.node(0).mesh->set_policy("round_robin").has_value());
  run_watched(cluster, mesh.watch, 50);
  behind = mesh.watch.behind(1);
  CHECK(behind.changes >= 1 + 2 + 1);  // a policy is told in the status feed as well
  CHECK(behind.streams >= 2);
  CHECK(*behind.since_ms == doctest::Approx(written_ms).epsilon(0.0002));
  CHECK(mesh.watch.behind(0).streams == 0);

  cluster.heal();
  run_watched(cluster, mesh.watch, 3'000);
  CHECK(mesh.watch.behind(1).streams == 0);
}

TEST_CASE("a node's lag is no longer than its life, and a dropped feed counts from the drop") {
  TwoNodes mesh;
  SimCluster& cluster = mesh.cluster;
  say_load(cluster, 0, 3);
  run_watched(cluster, mesh.watch, 5'000);
  cluster.crash(1);
  run_watched(cluster, mesh.watch, 100);
  const double born_ms = cluster.now_ms();
  cluster.start(1);
  cluster.partition({0});
  run_watched(cluster, mesh.watch, 300);
  REQUIRE(mesh.watch.behind(1).since_ms.has_value());
  CHECK(*mesh.watch.behind(1).since_ms >= born_ms - 1.0);
  CHECK(mesh.watch.behind(1).lag_ms(cluster.now_ms()) <= 301.0);
}

// Everything that node `reader` lacks of other writers' feeds, counted anew from what all hold.
std::uint64_t versions_lacked(const SimCluster& cluster, std::size_t reader) {
  std::uint64_t sum = 0;
  std::map<std::pair<net::StreamKind, crdt::NodeId>, std::uint64_t> held;
  for (const auto& at : cluster.node(reader).mesh->state().positions()) {
    if (!net::is_table(at.kind)) held[{at.kind, at.origin.node}] = at.version.value;
  }
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (i == reader) continue;
    const crdt::NodeId writer = cluster.node(i).mesh->state().self().node;
    for (const auto& at : cluster.node(i).mesh->state().positions()) {
      if (net::is_table(at.kind) || at.origin.node != writer) continue;
      sum += at.version.value - std::min(at.version.value, held[{at.kind, writer}]);
    }
  }
  return sum;
}

template <class Table>
std::uint64_t rows_lacked(const SimCluster& cluster, std::size_t reader,
                          const Table& (node::SharedState::*table)() const) {
  Table all;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    const Table& held = (cluster.node(i).mesh->state().*table)();
    held.for_each([&](const auto& key, const auto& value) { all.join(key, value); });
  }
  std::uint64_t lacked = 0;
  const Table& ours = (cluster.node(reader).mesh->state().*table)();
  all.for_each([&](const auto& key, const auto& value) {
    const auto* held = ours.find(key);
    lacked += held == nullptr || !(*held == value) ? 1 : 0;
  });
  return lacked;
}

TEST_CASE("the count of what is lacked equals one made anew from what all nodes hold") {
  SimCluster cluster(11);
  cluster.add_many(4);
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return whole(cluster); }, 10'000) >= 0);
  LagWatch watch(cluster);
  std::uint64_t most = 0;
  for (int round = 0; round < 400; ++round) {
    if (round == 100) cluster.partition({0, 1});
    if (round == 300) cluster.heal();
    cluster.change_something();
    run_watched(cluster, watch, 20);
    for (std::size_t i = 0; i < cluster.size(); ++i) {
      const std::uint64_t twin = versions_lacked(cluster, i) +
                                 rows_lacked(cluster, i, &node::SharedState::members) +
                                 rows_lacked(cluster, i, &node::SharedState::registry) +
                                 rows_lacked(cluster, i, &node::SharedState::settings) +
                                 rows_lacked(cluster, i, &node::SharedState::depth);
      CHECK(watch.behind(i).changes == twin);
      CHECK(watch.behind(i).since_ms.has_value() == (twin > 0));
      most = std::max(most, twin);
    }
  }
  CHECK(most > 100);
}

TEST_CASE("a partition is lagged as long as it lasts and caught up with after it") {
  const Convergence run =
      run_convergence({.scenario = "partition", .nodes = 4, .seconds = 18.0, .seed = 3});
  CHECK(run.agreed);
  REQUIRE(run.caught_up_ms.has_value());
  CHECK(run.troubles.at(0).begins_ms == doctest::Approx(2'000.0));
  CHECK(run.measured_from_ms == doctest::Approx(14'000.0));
  REQUIRE(run.samples.size() == 900);
  std::uint64_t bytes = 0;
  for (const ConvergenceSample& sample : run.samples) {
    for (std::size_t i = 0; i < 4; ++i) {
      CHECK(sample.nodes[i].up);
      bytes += sample.nodes[i].bytes;
      // Nobody can lack what is older than the partition.
      if (sample.at_ms > 2'100 && sample.at_ms <= 14'000) {
        CHECK(sample.nodes[i].lag_ms <= sample.at_ms - 2'000 + 10);
      }
    }
  }
  CHECK(bytes == run.nodes[0].bytes + run.nodes[1].bytes + run.nodes[2].bytes + run.nodes[3].bytes);
  const ConvergenceSample& before_heal = run.samples[699];  // 14 s
  for (const NodeSample& node : before_heal.nodes) CHECK(node.lag_ms > 10'000);
  CHECK(before_heal.distinct.registry >= 2);
  for (const NodeSample& node : run.samples.back().nodes) CHECK(node.streams == 0);
  const DigestCounts& last = run.samples.back().distinct;
  CHECK(last.rings == 1);
  CHECK(last.registry == 1);
  CHECK(last.depth == 1);
  CHECK(last.load == 1);
}

// Dials whose first packet was lost just before the heal, and settings that both halves have set,
// once took a second more.
TEST_CASE("after a heal nobody waits for a repeated packet or for a digest exchange") {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    const Convergence run =
        run_convergence({.scenario = "partition", .nodes = 8, .seconds = 18.0, .seed = seed});
    CHECK(run.agreed);
    REQUIRE(run.caught_up_ms.has_value());
    CHECK(*run.caught_up_ms < 500.0);
  }
}

TEST_CASE("a node that joins or restarts has caught up, and is absent from the plot while down") {
  const Convergence join =
      run_convergence({.scenario = "join", .nodes = 3, .seconds = 10.0, .seed = 5});
  CHECK(join.agreed);
  CHECK_FALSE(join.samples.front().nodes[2].up);
  CHECK(join.samples.back().nodes[2].up);
  CHECK(join.nodes[2].caught_up_ms.has_value());
  const Convergence restart =
      run_convergence({.scenario = "restart", .nodes = 3, .seconds = 10.0, .seed = 5});
  CHECK(restart.agreed);
  CHECK(restart.caught_up_ms.has_value());
  CHECK_FALSE(restart.samples.at(74).nodes[2].up);  // 1.5 s; it is down from the first second on
}

TEST_CASE("the same seed makes the same bytes, another seed makes others") {
  const ConvergenceOptions options{.scenario = "storm", .nodes = 3, .seconds = 10.0, .seed = 9};
  const Convergence run = run_convergence(options);
  const std::string plot = convergence_plot(run);
  CHECK(convergence_plot(run_convergence(options)) == plot);
  CHECK(convergence_json(run_convergence(options)) == convergence_json(run));
  ConvergenceOptions other = options;
  other.seed = 10;
  CHECK(convergence_plot(run_convergence(other)) != plot);
}

}  // namespace
}  // namespace dualmesh::sim
