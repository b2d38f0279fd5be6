// The smaller parts of a node's mesh half: views, readiness, pacing, latencies, the disk.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "node/mesh/fleet_view_builder.h"
#include "node/mesh/handshake.h"
#include "node/mesh/latency_histogram.h"
#include "node/mesh/load_gauges.h"
#include "node/mesh/pacer.h"
#include "node/mesh/readiness.h"
#include "node/mesh/state_store.h"
#include "tests/node/replica.h"

namespace dualmesh::node {
namespace {

using crdt::MemberStatus;
using crdt::NodeId;
using policies::Lifecycle;
using std::chrono::milliseconds;

}  // namespace

TEST_CASE("handshake: what a stranger says is cut before it is repeated") {
  CHECK(cut_text("short") == "short");
  CHECK(cut_text(std::string(256, 'x')) == std::string(256, 'x'));
  CHECK(cut_text(std::string(1'000'000, 'x')) == std::string(256, 'x') + "...");
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

TEST_CASE("view: peers are the ready ones that were heard of, with what they say they reach") {
  Replica node(1);
  const auto add = [&](Replica& peer, const std::string& name, const std::string& http) {
    crdt::Member member = alive(kWall);
    member.name = name;
    member.mesh_address = "10.0.0." + name + ":7400";
    member.http_address = http;
    node.state.join_member(peer.state.self().node, member);
    peer.state.set_status(StatusKey::ready, 1);
    peer.send_to(node);
  };
  Replica two(2), three(3), four(4), five(5), six(6);
  for (auto* peer : {&two, &three, &four, &five, &six}) {
    node.state.join_member(peer->state.self().node, alive(kWall));
  }
  const std::vector<SeedInstance> seeds{seed("e1", "h:1"), seed("e2", "h:2"), seed("e3", "h:3")};
  node.registry.configured(seeds);
  const auto id = [](const char* name) { return policies::instance_id_of(name); };
  two.state.set_health(id("e1"), true);
  two.state.set_health(id("e2"), false);  // e3 has not been spoken of
  two.state.set_health(id("unknown"), true);
  three.state.set_health(id("e3"), true);
  three.state.set_health(id("e2"), true);
  six.state.set_health(id("e3"), true);
  add(two, "9", "10.0.0.9:80");
  add(three, "3", "0.0.0.0:8080");  // every address: where the mesh dials it
  add(four, "4", "10.0.0.4:0");     // nobody can tell
  add(five, "5", "10.0.0.5:80");
  five.state.set_status(StatusKey::ready, 0);
  five.send_to(node);
  add(six, "6", "10.0.0.6:80");

  FleetViewBuilder builder(node.config);
  builder.read_registry(node.registry);
  auto view = builder.build(node.state, 0, {}, {NodeId{6}});
  REQUIRE(view->peers->size() == 2);
  CHECK(view->peers->at(0).name == "3");
  CHECK(view->peers->at(0).http_address == "10.0.0.3:8080");
  std::vector<policies::Slot> expected{builder.slot_of(id("e2")), builder.slot_of(id("e3"))};
  std::sort(expected.begin(), expected.end());
  CHECK(view->peers->at(0).reaches == expected);
  CHECK(view->peers->at(1).name == "9");
  CHECK(view->peers->at(1).http_address == "10.0.0.9:80");
  CHECK(view->peers->at(1).reaches == std::vector{builder.slot_of(id("e1"))});

  // What changes is seen, and who dies is none any more.
  two.state.set_health(id("e1"), false);
  two.send_to(node);
  crdt::Member dead = alive(kWall);
  dead.status = MemberStatus::dead;
  node.state.join_member(NodeId{3}, dead);
  view = builder.build(node.state, 0);
  REQUIRE(view->peers->size() == 2);
  CHECK(view->peers->at(0).name == "6");
  CHECK(view->peers->at(1).reaches.empty());
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
  CHECK(view->settings.policy == "dualmesh");
  CHECK(view->depth == nullptr);  // alone
}

TEST_CASE("view: clients' weights are the configured ones but for those set in the mesh") {
  Replica node(1);
  REQUIRE(node.config.routing.client_weights.read_text("#0000000000000001=3").empty());
  FleetViewBuilder builder(node.config);
  const auto weight = [&](std::uint64_t client) {
    return builder.build(node.state, 0)->settings.client_weights.of(client);
  };
  const auto set = [&](const std::string& text) {
    crdt::MultiValue<std::string> value;
    if (const auto* held = node.state.settings().find({kWeightsSetting})) value = *held;
    value.assign(node.state.stamp(kWall), text);
    node.state.join_setting({kWeightsSetting}, value);
  };
  CHECK(weight(1) == 3);
  set("in a format of the future");
  CHECK(weight(1) == 3);
  set("#0000000000000002=5");
  CHECK(weight(1) == 3);
  CHECK(weight(2) == 5);
  set("in a format of the future");
  CHECK(weight(2) == 5);
  set("#0000000000000001=7");
  CHECK(weight(1) == 7);
  CHECK(weight(2) == 1);
  policies::ClientWeights configured;
  REQUIRE(configured.read_text("#0000000000000001=4,#0000000000000002=6").empty());
  builder.set_configured_weights(configured);
  CHECK(weight(1) == 7);
  CHECK(weight(2) == 6);
  set("");
  CHECK(weight(1) == 4);
  CHECK(weight(2) == 6);
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

TEST_CASE("load: what nobody waits for and is over soon is slight") {
  const auto row = [](std::uint32_t queued, std::uint32_t left_ms) {
    net::LoadGauges gauges;
    gauges.queued_requests = queued;
    gauges.prefilling_requests = left_ms > 0 ? 1 : 0;
    gauges.prefill_left_ms = left_ms;
    return gauges;
  };
  const auto long_ms = kSlightPrefillMs + 1;
  CHECK(slight_change({}, row(0, kSlightPrefillMs)));
  CHECK(slight_change(row(0, kSlightPrefillMs), {}));
  CHECK_FALSE(slight_change({}, row(0, long_ms)));  // begun
  CHECK_FALSE(slight_change(row(0, long_ms), {}));  // over
  CHECK_FALSE(slight_change(row(0, 1), row(1, 1)));
  CHECK_FALSE(slight_change(row(1, 1), row(0, 1)));
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
  CHECK(saved->registry.entries.size() == 7);  // e2's six fields and e1's lifecycle

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
