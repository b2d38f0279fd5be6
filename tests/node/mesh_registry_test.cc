// The registry: configuration, look-ups and administrators' commands, and who wins.
#include <doctest/doctest.h>

#include "net/mesh_codec.h"
#include "node/mesh/fleet_view_builder.h"
#include "tests/node/replica.h"

namespace dualmesh::node {
namespace {

using crdt::NodeId;
using policies::Lifecycle;

}  // namespace

TEST_CASE("registry: configuration and discovery never override an administrator") {
  Replica node(1);
  const std::vector<SeedInstance> seeds = {seed("e1", "h:1"), seed("e2", "h:2")};
  node.registry.configured(seeds);
  CHECK(active_names(node.registry) == std::vector<std::string>{"e1", "e2"});
  REQUIRE(node.registry.set_lifecycle("e1", Lifecycle::removed, kWall).has_value());
  node.registry.configured(seeds);
  CHECK(active_names(node.registry) == std::vector<std::string>{"e2"});

  node.registry.discovered(std::vector<SeedInstance>{seed("h:1", "h:1"), seed("h:3", "h:3")});
  CHECK(active_names(node.registry) == std::vector<std::string>{"e2", "h:3"});
  REQUIRE(node.registry.set_lifecycle("h:3", Lifecycle::draining, kWall).has_value());
  node.registry.discovered(std::vector<SeedInstance>{seed("h:3", "h:3")});
  CHECK(node.registry.find("h:3")->lifecycle == Lifecycle::draining);
  node.registry.discovered({});
  CHECK(node.registry.find("e2")->lifecycle == Lifecycle::active);

  CHECK_FALSE(node.registry.set_lifecycle("e1", Lifecycle::active, kWall).has_value());
  REQUIRE(node.registry.add(seed("e1", "h:9"), kWall).has_value());
  CHECK(node.registry.find("e1")->address == "h:9");
  CHECK(node.registry.find("e1")->lifecycle == Lifecycle::active);
  CHECK(node.registry.find("e1")->source == "admin");
}

TEST_CASE("registry: bad additions are refused with what is wrong") {
  Replica node(1);
  node.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1")});
  CHECK_FALSE(node.registry.add(seed("", "h:2"), kWall).has_value());
  for (const char* address : {"", "h", "h:", ":1", "h:0", "h:65536", "h:x", "h :1",
                              "::1:80", "a/b:80"}) {
    CHECK_FALSE(node.registry.add(seed("e2", address), kWall).has_value());
  }
  CHECK(node.registry.add(seed("e2", "h:1"), kWall).error().message.find("e1 already has") !=
        std::string::npos);
  CHECK(node.registry.add(seed("e6", "[::1]:80"), kWall).has_value());
  SeedInstance heavy = seed("e2", "h:2");
  heavy.weight = 0.0;
  CHECK_FALSE(node.registry.add(heavy, kWall).has_value());
  CHECK_FALSE(node.registry.set_lifecycle("nobody", Lifecycle::removed, kWall).has_value());
}

TEST_CASE("registry: where an engine publishes KV events is said, changed and taken back") {
  Replica node(1);
  SeedInstance e1 = seed("e1", "h:1");
  e1.kv_events = "tcp://h:5557";
  node.registry.configured(std::vector<SeedInstance>{e1, seed("e2", "h:2")});
  CHECK(node.registry.find("e1")->kv_events == "tcp://h:5557");
  CHECK(node.registry.find("e2")->kv_events.empty());
  e1.kv_events = "tcp://h:5559,ranks=2";
  REQUIRE(node.registry.add(e1, kWall).has_value());
  CHECK(node.registry.find("e1")->kv_events == "tcp://h:5559,ranks=2");
  FleetViewBuilder builder(node.config);
  builder.read_registry(node.registry);
  const auto slot = builder.slot_of(policies::instance_id_of("e1"));
  CHECK(builder.build(node.state, 0)->instances.at(slot).kv_events == "tcp://h:5559,ranks=2");

  const std::string long_topic(net::CodecLimits::kTextBytes, 'x');
  for (const std::string& bad : {std::string("h:5557"), "tcp://h:5557,topic=" + long_topic}) {
    e1.kv_events = bad;
    const auto refused = node.registry.add(e1, kWall);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().message.starts_with("kv_events of e1"));
  }
  // Like all else that an addition does not name.
  REQUIRE(node.registry.add(seed("e1", "h:1"), kWall).has_value());
  CHECK(node.registry.find("e1")->kv_events.empty());
  builder.read_registry(node.registry);
  CHECK(builder.build(node.state, 0)->instances.at(slot).kv_events.empty());
}

TEST_CASE(
    "registry: DNS gives no second name to an address that the mesh has, also found out late") {
  Replica mesh(1), joiner(2);
  mesh.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1"), seed("e2", "h:2")});
  REQUIRE(mesh.registry.set_lifecycle("e2", Lifecycle::removed, kWall).has_value());
  joiner.state.join_member(NodeId{1}, alive(kWall));
  mesh.state.join_member(NodeId{2}, alive(kWall));
  FleetViewBuilder builder(joiner.config);
  joiner.registry.discovered(
      std::vector<SeedInstance>{seed("h:1", "h:1"), seed("h:2", "h:2"), seed("h:3", "h:3")});
  builder.read_registry(joiner.registry);
  CHECK(builder.build(joiner.state, 0)->models.at("m").active.size() == 3);
  mesh.send_to(joiner);
  joiner.send_to(mesh);
  const std::vector<std::string> wanted = {"e1", "h:3"};
  CHECK(active_names(mesh.registry) == wanted);
  CHECK(active_names(joiner.registry) == wanted);
  builder.read_registry(joiner.registry);  // routes by them no more
  CHECK(builder.build(joiner.state, 0)->models.at("m").active.size() == 2);
}

TEST_CASE("registry: of two configurations that differ, the one that lost is told both values") {
  Replica a(1), b(2);
  a.state.join_member(NodeId{2}, alive(kWall));
  b.state.join_member(NodeId{1}, alive(kWall));
  SeedInstance here = seed("e1", "h:1"), there = seed("e1", "h:2");
  here.kv_events = "tcp://h:1";
  there.kv_events = "tcp://h:2";
  a.registry.configured(std::vector<SeedInstance>{here});
  b.registry.configured(std::vector<SeedInstance>{there});
  const net::FieldKey address{"e1", static_cast<std::uint8_t>(InstanceField::address)};
  const net::FieldKey weight{"e1", static_cast<std::uint8_t>(InstanceField::weight)};
  a.send_to(b);
  b.send_to(a);
  CHECK(a.registry.find("e1")->address == "h:2");
  const std::string lost = a.registry.lost_seed(address);
  CHECK(lost.find("'h:1' here, 'h:2' elsewhere") != std::string::npos);
  CHECK(lost.find("instance add") != std::string::npos);
  const net::FieldKey kv_events{"e1", static_cast<std::uint8_t>(InstanceField::kv_events)};
  CHECK(a.registry.lost_seed(kv_events).find("differ in the kv_events of instance e1") !=
        std::string::npos);
  CHECK(a.registry.lost_seed(weight).empty());
  CHECK(b.registry.lost_seed(address).empty());
  // An administrator outranks both: nothing to complain of.
  REQUIRE(a.registry.add(seed("e1", "h:3"), kWall).has_value());
  CHECK(a.registry.lost_seed(address).empty());
}

TEST_CASE("registry: at most max_instances are in use, removed ones apart, at every writer") {
  MeshConfig two;
  two.max_instances = 2;
  Replica node(1, two);
  node.registry.configured(
      std::vector<SeedInstance>{seed("e1", "h:1"), seed("e2", "h:2"), seed("e3", "h:3")});
  CHECK(active_names(node.registry) == std::vector<std::string>{"e1", "e2"});
  node.registry.discovered(std::vector<SeedInstance>{seed("h:4", "h:4")});
  CHECK(node.registry.records().size() == 2);
  CHECK(node.registry.add(seed("e3", "h:3"), kWall).error().message.find("max_instances") !=
        std::string::npos);
  REQUIRE(node.registry.add(seed("e2", "h:5"), kWall).has_value());  // in use already
  for (int round = 0; round < 8; ++round) {
    const std::string name = "r" + std::to_string(round);
    REQUIRE(node.registry.set_lifecycle("e2", Lifecycle::removed, kWall).has_value());
    REQUIRE(node.registry.add(seed(name, "h:9"), kWall).has_value());
    CHECK_FALSE(node.registry.add(seed("e2", "h:2"), kWall).has_value());
    REQUIRE(node.registry.set_lifecycle(name, Lifecycle::removed, kWall).has_value());
    REQUIRE(node.registry.add(seed("e2", "h:2"), kWall).has_value());
  }

  SUBCASE("a receiver takes all that, and what was written at once elsewhere") {
    Replica other(2, two);
    other.registry.configured(std::vector<SeedInstance>{seed("o1", "o:1"), seed("o2", "o:2")});
    other.state.join_member(NodeId{1}, alive(kWall));
    node.send_to(other);
    CHECK(other.state.counters().over_bounds == 0);
    CHECK(active_names(other.registry).size() == 4);
    CHECK(other.registry.records().size() == 12);
  }
  SUBCASE("a receiver has a bound all the same") {
    Replica flood(3), other(2, two);
    other.state.join_member(NodeId{3}, alive(kWall));
    for (int i = 0; i < 100; ++i) {
      const std::string number = std::to_string(i);
      REQUIRE(
          flood.registry.add(seed("f" + number, "f:" + std::to_string(i + 1)), kWall).has_value());
    }
    flood.send_to(other);
    CHECK(active_names(other.registry).size() == 4);
    CHECK(other.registry.records().size() == 32);
    CHECK(other.state.counters().over_bounds > 0);
  }
}

TEST_CASE("registry: models learned from an instance count where none were configured") {
  Replica node(1);
  SeedInstance silent = seed("e1", "h:1");
  silent.models.clear();
  node.registry.configured(std::vector<SeedInstance>{silent, seed("e2", "h:2")});
  node.registry.models_found("e1", {"b", "a", "a"}, kWall);
  node.registry.models_found("e2", {"other"}, kWall);
  node.registry.models_found("unknown", {"x"}, kWall);
  CHECK(node.registry.find("e1")->models == std::vector<std::string>{"a", "b"});
  CHECK(node.registry.find("e2")->models == std::vector<std::string>{"m"});
  CHECK(node.registry.records().size() == 2);
}

TEST_CASE("registry: concurrent commands on different fields both survive, in any order") {
  Replica a(1), b(2);
  a.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1")});
  b.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1")});
  a.state.join_member(NodeId{2}, alive(kWall));
  b.state.join_member(NodeId{1}, alive(kWall));
  REQUIRE(a.registry.set_lifecycle("e1", Lifecycle::draining, kWall).has_value());
  b.registry.models_found("e1", {"z"}, kWall);
  a.send_to(b);
  b.send_to(a);
  CHECK(a.state.registry().digest() == b.state.registry().digest());
  CHECK(a.registry.find("e1")->lifecycle == Lifecycle::draining);
}

TEST_CASE("registry: it is taken whole or not at all while the clock refuses part of it") {
  Replica a(1);
  Replica newcomer(2);
  a.registry.add(seed("x1", "10.0.0.1:1"), kWall);
  a.registry.set_lifecycle("x1", policies::Lifecycle::draining, kWall + 200'000);
  a.state.raise_horizon({(kWall + 100'000) << 16, crdt::NodeId{1}});
  const auto rows = a.state.registry_rows({}, 1 << 20);
  // Its other fields alone would be a name that is not in use, and lie below the horizon.
  newcomer.state.take_registry(rows, crdt::NodeId{1}, kWall + 100'000);
  CHECK(newcomer.state.registry().size() == 0);
  CHECK(newcomer.state.horizon() == crdt::Stamp{});
  newcomer.state.take_registry(rows, crdt::NodeId{1}, kWall + 200'000);
  CHECK(newcomer.state.registry().digest() == a.state.registry().digest());
  CHECK(newcomer.registry.find("x1")->lifecycle == policies::Lifecycle::draining);
}

}  // namespace dualmesh::node
