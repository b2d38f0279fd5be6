// Removed instances leave the registry, and nobody who was away brings them back.
#include <doctest/doctest.h>

#include "tests/sim/sim_cluster.h"

using namespace dualmesh;
using policies::Lifecycle;
using sim::SimCluster;

namespace {

constexpr std::size_t kNodes = 4;

struct Collecting : SimCluster {
  explicit Collecting(std::uint64_t seed) : SimCluster(seed) {
    add_many(kNodes);
    for (std::size_t i = 0; i < kNodes; ++i) {
      node(i).config.collection_horizon_s = 3;
      node(i).config.dead_count_s = 40;
      node(i).config.instances = {{"e0", "127.0.0.1:9000", {"m"}, 1.0}};
    }
    start_all();
    settle();
  }
  void settle() {
    REQUIRE(run_until([&] { return all_ready() && converged(); }, 20'000) >= 0);
  }
  void add_instance(std::size_t at, const std::string& name, int port) {
    REQUIRE(
        node(at).mesh->change({name, "127.0.0.1:" + std::to_string(port), {"m"}, 1.0}).has_value());
  }
  void remove(std::size_t at, const std::string& name) {
    REQUIRE(node(at).mesh->change(name, Lifecycle::removed).has_value());
  }
  bool knows(std::size_t at, const std::string& name) {
    return node(at).mesh->registry().find(name).has_value();
  }
  std::uint64_t collected(std::size_t at) { return node(at).mesh->state().counters().collected; }
  void wait_collected(std::size_t at, const std::string& name) {
    REQUIRE(run_until([&] { return !knows(at, name); }, 60'000) >= 0);
  }
  // Commands on both sides of a cut that lasts: the few collect nothing, and nothing is lost.
  void check_few_collect_nothing(const std::vector<std::size_t>& few) {
    remove(few.back(), "x1");
    add_instance(0, "meanwhile", 9012);
    run_for(20'000);
    for (const std::size_t i : few) CHECK(collected(i) == 0);
    heal();
    run_for(500);
    settle();
    for (std::size_t i = 0; i < kNodes; ++i) {
      CHECK(knows(i, "meanwhile"));
      wait_collected(i, "x1");
    }
  }
};

}  // namespace

TEST_CASE("collection: a removed instance is forgotten by all after the horizon, and not before") {
  Collecting cluster(61);
  cluster.add_instance(0, "x1", 9001);
  cluster.add_instance(1, "x2", 9002);
  cluster.settle();
  cluster.remove(2, "x1");
  cluster.run_for(2'900);
  for (std::size_t i = 0; i < kNodes; ++i) CHECK(cluster.knows(i, "x1"));
  for (std::size_t i = 0; i < kNodes; ++i) cluster.wait_collected(i, "x1");
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) {
    CHECK(cluster.collected(i) == 1);
    CHECK(cluster.knows(i, "x2"));
    CHECK(cluster.knows(i, "e0"));
    CHECK(cluster.node(i).mesh->collection_horizon_ms() ==
          cluster.node(0).mesh->collection_horizon_ms());
  }
  CHECK(cluster.node(0).mesh->collection_horizon_ms() > 0);
  // The name may be used again.
  cluster.add_instance(3, "x1", 9003);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) CHECK(cluster.knows(i, "x1"));
}

TEST_CASE("collection: what a configuration lists is removed and not forgotten") {
  Collecting cluster(62);
  cluster.remove(1, "e0");
  cluster.run_for(15'000);
  for (std::size_t i = 0; i < kNodes; ++i) {
    REQUIRE(cluster.knows(i, "e0"));
    CHECK(cluster.node(i).mesh->registry().find("e0")->lifecycle == Lifecycle::removed);
    CHECK(cluster.collected(i) == 0);
  }
}

TEST_CASE("collection: a node away for longer keeps what it was told after the horizon, no more") {
  Collecting cluster(63);
  cluster.add_instance(0, "x1", 9001);
  cluster.settle();
  cluster.partition({3});
  cluster.run_for(100);
  cluster.add_instance(3, "old", 9010);
  cluster.remove(1, "x1");
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_collected(i, "x1");
  cluster.run_for(10'000);
  // Added and removed there, so that the horizon rises beyond what the lonely node has said.
  cluster.add_instance(0, "x2", 9002);
  cluster.remove(0, "x2");
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_collected(i, "x2");
  REQUIRE(cluster.knows(3, "x1"));
  REQUIRE(cluster.knows(3, "old"));
  cluster.add_instance(3, "fresh", 9011);
  cluster.heal();
  cluster.run_for(500);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) {
    CHECK_FALSE(cluster.knows(i, "x1"));
    CHECK_FALSE(cluster.knows(i, "old"));
    CHECK(cluster.knows(i, "fresh"));
  }
}

TEST_CASE("collection: a node that came back and reaches nobody collects nothing") {
  Collecting cluster(69);
  cluster.add_instance(0, "x1", 9001);
  cluster.settle();
  const auto saved = cluster.node(3).mesh->state().registry().delta_since({}, 1'000);
  cluster.crash(3);
  cluster.partition({3});
  cluster.node(3).before_start = [&](node::MeshNode& mesh) { mesh.restore(saved, {}); };
  cluster.start(3);
  REQUIRE(cluster.run_until([&] { return cluster.node(3).mesh->ready(); }, 20'000) >= 0);
  cluster.remove(3, "x1");
  cluster.add_instance(0, "meanwhile", 9012);
  cluster.run_for(20'000);
  CHECK(cluster.collected(3) == 0);
  cluster.heal();
  cluster.run_for(500);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) CHECK(cluster.knows(i, "meanwhile"));
}

TEST_CASE("collection: whoever collects speaks after the horizon, though its clock goes back") {
  Collecting cluster(70);
  cluster.add_instance(0, "x1", 9001);
  cluster.remove(0, "x1");
  for (std::size_t i = 0; i < kNodes; ++i) cluster.wait_collected(i, "x1");
  for (std::size_t i = 0; i < kNodes; ++i) {
    CAPTURE(i);
    cluster.node(i).clock_skew_ms = -30'000;
    cluster.add_instance(i, "said" + std::to_string(i), 9030 + static_cast<int>(i));
    cluster.node(i).clock_skew_ms = 0;
    cluster.run_for(500);
    cluster.settle();
    for (std::size_t at = 0; at < kNodes; ++at) {
      CHECK(cluster.knows(at, "said" + std::to_string(i)));
    }
  }
}

TEST_CASE("collection: a registry taken while the clock was behind is whole when it is right") {
  Collecting cluster(71);
  cluster.add_instance(0, "kept", 9040);
  cluster.settle();
  cluster.partition({3});
  cluster.node(3).clock_skew_ms = -90'000;
  cluster.add_instance(3, "old", 9041);
  cluster.run_for(8'000);
  cluster.add_instance(0, "x1", 9001);
  cluster.remove(0, "x1");
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_collected(i, "x1");
  REQUIRE(cluster.node(0).mesh->change("kept", Lifecycle::draining).has_value());
  cluster.node(3).clock_skew_ms = -62'000;  // the horizon is not in its future, the last word is
  cluster.heal();
  cluster.run_for(3'000);
  cluster.node(3).clock_skew_ms = 0;
  cluster.run_for(500);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) {
    REQUIRE(cluster.knows(i, "kept"));
    CHECK(cluster.node(i).mesh->registry().find("kept")->lifecycle == Lifecycle::draining);
    CHECK_FALSE(cluster.knows(i, "old"));
  }
}

TEST_CASE("collection: what one alone said last before the horizon of the others does not count") {
  Collecting cluster(68);
  cluster.add_instance(0, "both", 9020);
  cluster.settle();
  cluster.partition({3});
  cluster.run_for(100);
  cluster.remove(3, "both");
  cluster.run_for(10'000);
  cluster.add_instance(0, "x1", 9001);
  cluster.remove(0, "x1");
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_collected(i, "x1");
  cluster.heal();
  cluster.run_for(500);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) {
    REQUIRE(cluster.knows(i, "both"));
    CHECK(cluster.node(i).mesh->registry().find("both")->lifecycle == Lifecycle::active);
  }
}

TEST_CASE("collection: a removal of what a configuration lists outlives horizon and restart") {
  Collecting cluster(67);
  cluster.remove(1, "e0");
  cluster.add_instance(0, "x1", 9001);
  cluster.remove(0, "x1");
  for (std::size_t i = 0; i < kNodes; ++i) cluster.wait_collected(i, "x1");
  auto saved = cluster.node(3).mesh->state().registry().delta_since({}, 1'000);
  std::erase_if(saved.entries,
                [](const auto& row) { return row.value.stamp.writer == crdt::NodeId{}; });
  cluster.crash(3);
  cluster.node(3).before_start = [&](node::MeshNode& mesh) { mesh.restore(saved, {}); };
  cluster.start(3);
  cluster.run_for(500);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) {
    REQUIRE(cluster.knows(i, "e0"));
    CHECK(cluster.node(i).mesh->registry().find("e0")->lifecycle == Lifecycle::removed);
  }
}

TEST_CASE("collection: an instance that is dropped while in use leaves the rings as well") {
  Collecting cluster(66);
  cluster.partition({3});
  cluster.run_for(100);
  cluster.add_instance(3, "old", 9010);
  cluster.run_for(10'000);
  cluster.add_instance(0, "x1", 9001);
  cluster.remove(0, "x1");
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_collected(i, "x1");
  const auto serving = [&] { return cluster.node(3).mesh->view()->models.at("m").serving.size(); };
  REQUIRE(serving() == 2);
  cluster.heal();
  cluster.run_for(500);
  cluster.settle();
  REQUIRE_FALSE(cluster.knows(3, "old"));
  cluster.run_for(100);
  CHECK(serving() == 1);
  CHECK(cluster.node(0).mesh->view()->rings_agree);
  CHECK(cluster.node(3).mesh->view()->ring_digest == cluster.node(0).mesh->view()->ring_digest);
}

TEST_CASE("collection: a few that are cut off collect nothing") {
  Collecting cluster(64);
  cluster.add_instance(0, "x1", 9001);
  cluster.settle();
  cluster.partition({3});
  cluster.check_few_collect_nothing({3});
}

TEST_CASE("collection: a few that start again while they are cut off collect nothing") {
  Collecting cluster(72);
  cluster.add_instance(0, "x1", 9001);
  cluster.settle();
  const auto saved = cluster.node(3).mesh->state().registry().delta_since({}, 1'000);
  cluster.partition({2, 3});
  for (const std::size_t i : {2, 3}) {
    cluster.crash(i);
    node::MeshConfig& config = cluster.node(i).config;
    config.seeds.clear();
    for (std::size_t seed = 0; seed < kNodes; ++seed) {
      config.seeds.push_back(cluster.node(seed).address);
    }
    cluster.node(i).before_start = [&](node::MeshNode& mesh) { mesh.restore(saved, {}); };
    cluster.start(i);
  }
  // All that they know of is each other.
  REQUIRE(cluster.run_until(
              [&] {
                return cluster.node(2).mesh->ready() && cluster.node(3).mesh->ready() &&
                       cluster.node(2).mesh->view()->live_nodes == 2;
              },
              20'000) >= 0);
  cluster.check_few_collect_nothing({2, 3});
}

TEST_CASE("collection: whoever is dead for long does not stop it for ever") {
  Collecting cluster(73);
  cluster.crash(2);
  cluster.crash(3);
  REQUIRE(cluster.run_until([&] { return cluster.node(0).mesh->view()->live_nodes == 2; },
                            10'000) >= 0);
  cluster.add_instance(0, "x1", 9001);
  cluster.remove(0, "x1");
  cluster.run_for(20'000);
  CHECK(cluster.knows(0, "x1"));  // two of four are no majority
  for (const std::size_t i : {0, 1}) cluster.wait_collected(i, "x1");
}

TEST_CASE("collection: nothing is collected by a clock that is ahead of the others") {
  Collecting cluster(74);
  cluster.add_instance(0, "x1", 9001);
  cluster.settle();
  // Whoever it is that collects: its horizon would be now, and what others say now before it.
  std::size_t first = 0;
  for (std::size_t i = 1; i < kNodes; ++i) {
    const auto id = [&](std::size_t at) { return cluster.node(at).mesh->state().self().node; };
    if (id(i) < id(first)) first = i;
  }
  cluster.remove(0, "x1");
  cluster.settle();
  cluster.node(first).clock_skew_ms = 63'000;
  cluster.run_for(20'000);
  for (std::size_t i = 0; i < kNodes; ++i) CHECK(cluster.collected(i) == 0);
  cluster.node(first).clock_skew_ms = 0;
  for (std::size_t i = 0; i < kNodes; ++i) cluster.wait_collected(i, "x1");
}

TEST_CASE("collection: an old file brings nothing back") {
  Collecting cluster(65);
  cluster.add_instance(0, "x1", 9001);
  cluster.settle();
  const auto saved = cluster.node(3).mesh->state().registry().delta_since({}, 1'000);
  cluster.crash(3);
  cluster.remove(1, "x1");
  for (std::size_t i = 0; i < 3; ++i) cluster.wait_collected(i, "x1");
  cluster.node(3).before_start = [&](node::MeshNode& mesh) { mesh.restore(saved, {}); };
  cluster.start(3);
  cluster.run_for(500);
  cluster.settle();
  for (std::size_t i = 0; i < kNodes; ++i) CHECK_FALSE(cluster.knows(i, "x1"));
}
