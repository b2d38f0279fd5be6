// The parts of a node's mesh half that need no event loop: registry rules, views, replicated state,
// failure detection, readiness, and what is kept on disk.
#include <capnp/message.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "net/mesh_codec.h"
#include "node/mesh/fleet_view_builder.h"
#include "node/mesh/handshake.h"
#include "node/mesh/latency_histogram.h"
#include "node/mesh/pacer.h"
#include "node/mesh/readiness.h"
#include "node/mesh/registry.h"
#include "node/mesh/state_store.h"

namespace dualmesh::node {
namespace {

using crdt::MemberStatus;
using crdt::NodeId;
using policies::Lifecycle;
using std::chrono::milliseconds;

constexpr std::uint64_t kWall = 1'760'000'000'000;

struct Quiet final : StateObserver {
  void member_grew(NodeId, const crdt::Member&) override {}
  void field_grew(const net::FieldKey&) override {}
  void setting_grew(const net::SettingKey&) override {}
  void depth_grew() override {}
  void load_grew(NodeId, const net::LoadFeed::Delta&) override {}
  void status_grew(NodeId) override {}
  void placements_grew(const net::ResidencyFeed::Delta&) override {}
  void own_feed_grew() override {}
};

crdt::Member alive(std::uint64_t epoch) {
  crdt::Member member;
  member.epoch = crdt::Epoch{epoch};
  return member;
}

// One node's state with itself as a member.
struct Replica {
  explicit Replica(std::uint64_t id, MeshConfig settings = {})
      : config(std::move(settings)), state({NodeId{id}, crdt::Epoch{kWall}}, config, quiet) {
    state.join_member(NodeId{id}, alive(kWall));
  }
  // Everything this replica has that `to` has not, by the real path but the wire.
  void send_to(Replica& to) {
    for (;;) {
      const auto batch = state.collect(acknowledged, {}, 1 << 20);
      for (const auto& delta : batch.deltas) {
        const auto at = to.state.apply(delta, state.self(), kWall);
        acknowledged.versions[static_cast<std::size_t>(at.kind)] = at.version;
      }
      if (batch.complete) return;
    }
  }
  MeshConfig config;
  Quiet quiet;
  SharedState state;
  Registry registry{state};
  Acknowledged acknowledged;  // by the one peer of these tests
};

SeedInstance seed(std::string name, std::string address) {
  return {std::move(name), std::move(address), {"m"}, 1.0};
}

std::vector<std::string> active_names(const Registry& registry) {
  std::vector<std::string> names;
  for (const auto& record : registry.records()) {
    if (record.lifecycle == Lifecycle::active) names.push_back(record.name);
  }
  return names;
}

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
  for (const char* address : {"", "h", "h:", ":1", "h:0", "h:65536", "h:x", "h :1"}) {
    CHECK_FALSE(node.registry.add(seed("e2", address), kWall).has_value());
  }
  CHECK(node.registry.add(seed("e2", "h:1"), kWall).error().message.find("e1 already has") !=
        std::string::npos);
  SeedInstance heavy = seed("e2", "h:2");
  heavy.weight = 0.0;
  CHECK_FALSE(node.registry.add(heavy, kWall).has_value());
  CHECK_FALSE(node.registry.set_lifecycle("nobody", Lifecycle::removed, kWall).has_value());
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
  a.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1")});
  b.registry.configured(std::vector<SeedInstance>{seed("e1", "h:2")});
  const net::FieldKey address{"e1", static_cast<std::uint8_t>(InstanceField::address)};
  const net::FieldKey weight{"e1", static_cast<std::uint8_t>(InstanceField::weight)};
  a.send_to(b);
  b.send_to(a);
  CHECK(a.registry.find("e1")->address == "h:2");
  const std::string lost = a.registry.lost_seed(address);
  CHECK(lost.find("'h:1' here, 'h:2' elsewhere") != std::string::npos);
  CHECK(lost.find("instance add") != std::string::npos);
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

TEST_CASE("state: stamps and epochs far ahead of our clock are refused and counted") {
  Replica a(1), b(2);
  b.state.join_member(NodeId{1}, alive(kWall));
  REQUIRE(a.registry.add(seed("e1", "h:1"), kWall + 120'000).has_value());
  crdt::Member absurd = alive(kWall + 7'200'000);
  a.state.join_member(NodeId{9}, absurd);
  a.send_to(b);
  CHECK(b.state.registry().size() == 0);
  CHECK(b.state.members().find(NodeId{9}) == nullptr);
  CHECK(b.state.counters().far_future == 6);
}

TEST_CASE("state: feeds are taken from the living writer only, and a new life replaces the old") {
  Replica a(1), b(2);
  b.state.join_member(NodeId{1}, alive(kWall));
  net::LoadGauges load;
  load.queued_requests = 3;
  a.state.set_load(77, load);
  a.send_to(b);
  REQUIRE(b.state.loads().find(NodeId{1}) != nullptr);
  CHECK(*b.state.loads().find(NodeId{1})->feed.find(77) == load);

  crdt::Member dead = alive(kWall);
  dead.status = MemberStatus::dead;
  b.state.join_member(NodeId{1}, dead);
  CHECK(b.state.loads().find(NodeId{1}) == nullptr);
  a.acknowledged = {};
  net::LoadGauges more = load;
  more.queued_requests = 4;
  a.state.set_load(77, more);
  const auto batch = a.state.collect(a.acknowledged, {}, 1 << 20);
  for (const auto& delta : batch.deltas) {
    if (delta.kind() == net::StreamKind::load) b.state.apply(delta, a.state.self(), kWall);
  }
  CHECK(b.state.loads().find(NodeId{1}) == nullptr);
  CHECK(b.state.counters().stale_writer > 0);

  a.state.raise_epoch(crdt::Epoch{kWall + 5});
  a.acknowledged = {};
  a.send_to(b);
  REQUIRE(b.state.loads().find(NodeId{1}) != nullptr);
  CHECK(*b.state.loads().find(NodeId{1})->feed.find(77) == more);
}

TEST_CASE("state: a table that speaks for another node is refused, a feed is relayed") {
  Replica a(1), b(2);
  b.state.join_member(NodeId{1}, alive(kWall));
  net::LoadGauges load;
  load.queued_requests = 3;
  a.state.set_load(1, load);
  for (const auto& delta : a.state.collect({}, {}, 1 << 20).deltas) {
    b.state.apply(delta, {NodeId{3}, crdt::Epoch{kWall}}, kWall);
  }
  CHECK(b.state.counters().malformed == 1);  // membership
  CHECK(b.state.counters().relayed == 1);
  CHECK(b.state.loads().find(NodeId{3}) == nullptr);
  REQUIRE(b.state.loads().find(NodeId{1}) != nullptr);
  CHECK(*b.state.loads().find(NodeId{1})->feed.find(1) == load);
}

TEST_CASE("state: a push is cut at its size and continues until both sides are equal") {
  Replica a(1), b(2);
  a.state.join_member(NodeId{2}, alive(kWall));
  b.state.join_member(NodeId{1}, alive(kWall));
  for (std::uint64_t i = 1; i <= 500; ++i) {
    a.state.set_load(i, net::LoadGauges{static_cast<std::uint32_t>(i)});
    const std::uint64_t block[] = {i};
    a.state.place(5, block, milliseconds(1));
  }
  std::size_t pushes = 0;
  while (a.state.has_news(a.acknowledged)) {
    REQUIRE(++pushes < 1'000);
    for (const auto& delta : a.state.collect(a.acknowledged, {}, 2'000).deltas) {
      const auto at = b.state.apply(delta, a.state.self(), kWall);
      a.acknowledged.versions[static_cast<std::size_t>(at.kind)] = at.version;
    }
  }
  CHECK(pushes > 10);
  CHECK(b.state.loads().find(NodeId{1})->feed.digest() == a.state.own_load().digest());
  CHECK(b.state.residencies().find(NodeId{1})->feed.digest() == a.state.own_residency().digest());
}

TEST_CASE("state: a push of long texts is cut by their bytes, and each row goes in the end") {
  Replica a(1), b(2);
  a.state.join_member(NodeId{2}, alive(kWall));
  b.state.join_member(NodeId{1}, alive(kWall));
  for (int i = 0; i < 40; ++i) {
    SeedInstance wordy =
        seed(std::to_string(i) + std::string(200, 'n'), "h:" + std::to_string(i + 1));
    wordy.models = {std::string(4'000, 'm')};
    REQUIRE(a.registry.add(wordy, kWall).has_value());
  }
  const std::size_t limit = 3'000;  // less than the longest row
  std::size_t pushes = 0;
  while (a.state.has_news(a.acknowledged)) {
    REQUIRE(++pushes < 1'000);
    const auto batch = a.state.collect(a.acknowledged, {}, limit);
    std::size_t bytes = 0;
    std::size_t rows = 0;
    for (const auto& delta : batch.deltas) {
      capnp::MallocMessageBuilder message;
      auto written = message.initRoot<wire::Delta>();
      net::write_delta(delta, written);
      bytes += written.totalSize().wordCount * sizeof(capnp::word);
      rows += std::visit([](const auto& body) { return body.entries.size(); }, delta.body);
      const auto at = b.state.apply(delta, a.state.self(), kWall);
      a.acknowledged.versions[static_cast<std::size_t>(at.kind)] = at.version;
    }
    // Beside the rows each delta has a head.
    CHECK((rows == 1 || bytes <= limit + 100 * batch.deltas.size()));
  }
  CHECK(a.state.registry().digest() == b.state.registry().digest());
}

TEST_CASE(
    "state: feeds and settings beyond their bounds are refused, counted and not acknowledged") {
  MeshConfig small;
  small.max_instances = 2;
  small.max_placements = 10;
  Replica a(1), b(2, small);
  b.state.join_member(NodeId{1}, alive(kWall));
  const auto offer = [&] {
    const auto before = b.state.counters().over_bounds;
    a.acknowledged = {};
    for (const auto& delta : a.state.collect({}, {}, 1 << 20).deltas) {
      b.state.apply(delta, a.state.self(), kWall);
    }
    return b.state.counters().over_bounds - before;
  };
  const auto at = [&](net::StreamKind kind) { return b.state.position(kind, a.state.self()); };

  SUBCASE("load and health: as many as there may be names, and the beacon") {
    for (std::uint64_t i = 0; i < 33; ++i) {
      a.state.set_load(i, net::LoadGauges{1});
      a.state.set_health(i, true);
    }
    CHECK(offer() == 0);
    a.state.set_load(99, net::LoadGauges{1});
    a.state.set_health(99, true);
    CHECK(offer() == 2);
    CHECK(at(net::StreamKind::load).digest.count == 33);
    CHECK(at(net::StreamKind::load).version < a.state.own_load().version());
    CHECK(at(net::StreamKind::health).digest.count == 33);
  }
  SUBCASE("status") {
    for (int i = 0; i < 64; ++i) a.state.set_status(static_cast<StatusKey>(i), 1);
    CHECK(offer() == 0);
    a.state.set_status(static_cast<StatusKey>(64), 1);
    CHECK(offer() == 1);
  }
  SUBCASE("placements") {
    std::vector<std::uint64_t> blocks(20);
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
    a.state.place(1, blocks, milliseconds(1));
    CHECK(offer() == 0);
    a.state.place(2, blocks, milliseconds(1));
    CHECK(offer() == 1);
    CHECK(at(net::StreamKind::residency).digest.count == 20);
  }
  SUBCASE("settings: their number, and the concurrent values of one") {
    const auto say = [&](const std::string& name, std::uint64_t writer) {
      crdt::MultiValue<std::string> value;
      value.assign({kWall << 16, NodeId{writer}}, "v");
      a.state.join_setting({name}, value);
    };
    for (int i = 0; i < 256; ++i) say("s" + std::to_string(i), 1);
    CHECK(offer() == 0);
    say("one more", 1);
    CHECK(offer() == 1);
    for (std::uint64_t writer = 2; writer <= 64; ++writer) say("s0", writer);
    CHECK(offer() == 1);
    say("s0", 65);
    CHECK(offer() == 2);
    CHECK(b.state.settings().find({"s0"})->siblings().size() == 64);
  }
}

TEST_CASE("state: of one prompt the beginning is told last, as the most recently used") {
  Replica node(1);
  const std::uint64_t prompt[] = {10, 11, 12};
  node.state.place(1, prompt, milliseconds(1));
  std::vector<std::uint64_t> told;
  node.state.own_residency().for_each(
      [&](const net::PlacementKey& key, crdt::Version) { told.push_back(key.block); });
  CHECK(told == std::vector<std::uint64_t>{12, 11, 10});
}

TEST_CASE("handshake: what a stranger says is cut before it is repeated") {
  CHECK(cut_text("short") == "short");
  CHECK(cut_text(std::string(256, 'x')) == std::string(256, 'x'));
  CHECK(cut_text(std::string(1'000'000, 'x')) == std::string(256, 'x') + "...");
}

TEST_CASE("state: placements are bounded in number and in time") {
  MeshConfig config;
  config.max_placements = 10;
  config.placement_ttl_s = 5;
  Replica node(1, config);
  for (std::uint64_t i = 0; i < 30; ++i) {
    const std::uint64_t block[] = {i};
    node.state.place(1, block, std::chrono::seconds(1));
  }
  CHECK(node.state.own_residency().size() == 10);
  CHECK(node.state.own_residency().contains({1, 29}));
  CHECK_FALSE(node.state.own_residency().contains({1, 19}));
  node.state.expire(std::chrono::seconds(5), kWall);
  CHECK(node.state.own_residency().size() == 10);
  node.state.expire(std::chrono::seconds(7), kWall);
  CHECK(node.state.own_residency().size() == 0);
}

TEST_CASE("state: depth marks vanish one to two buckets after their last refresh") {
  Replica node(1);
  const std::uint64_t bucket = node.state.depth_bucket(kWall);
  node.state.mark_depth(bucket, 5, 3);
  node.state.expire({}, kWall + 60'000);
  CHECK(node.state.depth().size() == 1);
  node.state.expire({}, kWall + 121'000);
  CHECK(node.state.depth().size() == 0);
}

TEST_CASE("view: others' load is summed, dead nodes and beacons are left out") {
  Replica node(1), two(2), three(3);
  for (auto* peer : {&two, &three}) node.state.join_member(peer->state.self().node, alive(kWall));
  node.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1"), seed("e2", "h:2")});
  const auto e1 = policies::instance_id_of("e1");
  net::LoadGauges load;
  load.queued_requests = 2;
  load.queued_tokens = 100;
  two.state.set_load(e1, load);
  two.state.set_load(kBeaconInstance, load);
  three.state.set_load(e1, load);
  node.state.set_load(e1, load);  // our own is not in our view
  two.send_to(node);
  three.send_to(node);

  FleetViewBuilder builder(node.config);
  CHECK(builder.read_registry(node.registry).size() == 2);
  auto view = builder.build(node.state, 0);
  const auto slot = builder.slot_of(e1);
  CHECK(view->live_nodes == 3);
  CHECK(view->instances[slot].others.queued_requests == 4);
  CHECK(view->instances[slot].others.queued_tokens == 200);
  CHECK(view->instances[slot].others_queueing == 2);

  crdt::Member dead = alive(kWall);
  dead.status = MemberStatus::dead;
  node.state.join_member(NodeId{2}, dead);
  view = builder.build(node.state, 0);
  CHECK(view->live_nodes == 2);
  CHECK(view->instances[slot].others.queued_requests == 2);
}

TEST_CASE("view: rings depend on active members and weights, not on the order of arrival") {
  const auto digest_of = [](std::vector<SeedInstance> seeds) {
    Replica node(1);
    for (const auto& each : seeds) node.registry.configured(std::vector<SeedInstance>{each});
    FleetViewBuilder builder(node.config);
    builder.read_registry(node.registry);
    return builder.build(node.state, 0)->ring_digest;
  };
  const auto forward = digest_of({seed("e1", "h:1"), seed("e2", "h:2"), seed("e3", "h:3")});
  CHECK(forward == digest_of({seed("e3", "h:3"), seed("e1", "h:1"), seed("e2", "h:2")}));
  CHECK(forward != digest_of({seed("e1", "h:1"), seed("e2", "h:2")}));
  SeedInstance heavy = seed("e2", "h:2");
  heavy.weight = 2.0;
  CHECK(forward != digest_of({seed("e1", "h:1"), heavy, seed("e3", "h:3")}));
}

TEST_CASE("view: slots stay, draining instances serve without being in the ring") {
  Replica node(1);
  node.registry.configured(std::vector<SeedInstance>{seed("b", "h:1"), seed("c", "h:2")});
  FleetViewBuilder builder(node.config);
  builder.read_registry(node.registry);
  const auto slot_b = builder.slot_of(policies::instance_id_of("b"));
  REQUIRE(node.registry.add(seed("a", "h:3"), kWall).has_value());
  REQUIRE(node.registry.set_lifecycle("b", Lifecycle::draining, kWall).has_value());
  CHECK(builder.read_registry(node.registry).size() == 1);
  const auto view = builder.build(node.state, 0);
  CHECK(view->instances[slot_b].name == "b");
  CHECK(view->models.at("m").active.size() == 2);
  CHECK(view->models.at("m").serving.size() == 3);
  CHECK(view->settings.policy == "dualmap");
  CHECK(view->depth == nullptr);  // alone
}

TEST_CASE("readiness: each rule by itself") {
  MeshConfig config;
  ReadinessFacts facts;
  facts.running = milliseconds(100);
  CHECK_FALSE(judge_readiness(config, facts).ready);
  facts.running = milliseconds(config.join_timeout_ms);
  CHECK(judge_readiness(config, facts).founder);
  facts.any_other = true;
  CHECK_FALSE(judge_readiness(config, facts).ready);
  facts.linked = 1;
  facts.waiting_for = {"b"};
  CHECK(judge_readiness(config, facts).why_not == "receiving the state of b");
  facts.running = milliseconds(2 * config.join_timeout_ms);
  CHECK(judge_readiness(config, facts).ready);
  CHECK(judge_readiness(config, facts).unfinished == std::vector<std::string>{"b"});
  facts.waiting_for.clear();
  facts.refused = true;
  CHECK_FALSE(judge_readiness(config, facts).ready);
  facts.was_ready = true;
  CHECK(judge_readiness(config, facts).ready);
  facts.name_in_use = true;
  CHECK_FALSE(judge_readiness(config, facts).ready);
  facts = {};
  facts.draining = true;
  CHECK(judge_readiness(config, facts).why_not == "draining");
  MeshConfig strict;
  strict.may_found = false;
  ReadinessFacts lonely;
  lonely.running = std::chrono::hours(1);
  CHECK_FALSE(judge_readiness(strict, lonely).ready);
  MeshConfig alone;
  alone.alone = true;
  CHECK(judge_readiness(alone, ReadinessFacts{}).ready);
}

TEST_CASE("pacer: a lone change is not held back, a storm is") {
  Pacer pacer(milliseconds(2), milliseconds(25));
  policies::Time now = milliseconds(1000);
  CHECK(pacer.next() <= now);
  int acted = 0;
  for (int ms = 0; ms < 1'000; ++ms) {
    if (pacer.next() <= now) {
      pacer.acted(now);
      ++acted;
    }
    now += milliseconds(1);
  }
  CHECK(acted >= 40);
  CHECK(acted <= 46);
  now += milliseconds(100);
  CHECK(pacer.next() <= now);
}

TEST_CASE("histogram: percentiles err upwards by at most a tenth") {
  LatencyHistogram histogram;
  for (int i = 1; i <= 1'000; ++i) histogram.record(i);
  CHECK(histogram.count() == 1'000);
  CHECK(histogram.percentile(0.5) >= 500);
  CHECK(histogram.percentile(0.5) <= 550);
  CHECK(histogram.percentile(0.99) >= 990);
  CHECK(histogram.percentile(0.99) <= 1'000);
  CHECK(histogram.max_ms() == 1'000);
}

TEST_CASE("disk: what administrators said is kept, damage is an error that says what to do") {
  const auto dir =
      std::filesystem::temp_directory_path() / ("dualmesh-store-" + std::to_string(::getpid()));
  std::filesystem::remove_all(dir);
  Replica node(1);
  node.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1")});
  REQUIRE(node.registry.set_lifecycle("e1", Lifecycle::removed, kWall).has_value());
  REQUIRE(node.registry.add(seed("e2", "h:2"), kWall).has_value());
  {
    auto store = StateStore::open(dir.string());
    REQUIRE(store.has_value());
    CHECK((*store)->load()->registry.entries.empty());
    (*store)->save(node.state.registry(), node.state.settings());
  }
  const auto load = [&] {
    auto store = StateStore::open(dir.string());
    REQUIRE(store.has_value());
    return (*store)->load();
  };
  auto saved = load();
  REQUIRE(saved.has_value());
  CHECK(saved->registry.entries.size() == 6);  // e2's five fields and e1's lifecycle

  const auto file = dir / "mesh-state";
  const auto size = std::filesystem::file_size(file);
  SUBCASE("a flipped byte") {
    std::fstream damaged(file, std::ios::in | std::ios::out | std::ios::binary);
    damaged.seekp(static_cast<std::streamoff>(size - 3));
    damaged.put('\x7f');
  }
  SUBCASE("a file cut short") { std::filesystem::resize_file(file, size - 8); }
  SUBCASE("an empty file") { std::filesystem::resize_file(file, 0); }
  auto refused = load();
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("is damaged") != std::string::npos);
  std::filesystem::remove_all(dir);
}

}  // namespace dualmesh::node
