// SharedState: what is taken from others, what is sent to them, and what ends.
#include <capnp/message.h>
#include <doctest/doctest.h>

#include "net/mesh_codec.h"
#include "tests/node/replica.h"

namespace dualmesh::node {
namespace {

using crdt::MemberStatus;
using crdt::NodeId;
using policies::Lifecycle;
using std::chrono::milliseconds;

}  // namespace

TEST_CASE("state: stamps and epochs far ahead of our clock are refused and counted") {
  Replica a(1), b(2);
  b.state.join_member(NodeId{1}, alive(kWall));
  REQUIRE(a.registry.add(seed("e1", "h:1"), kWall + 120'000).has_value());
  crdt::Member absurd = alive(kWall + 7'200'000);
  a.state.join_member(NodeId{9}, absurd);
  a.send_to(b);
  CHECK(b.state.registry().size() == 0);
  CHECK(b.state.members().find(NodeId{9}) == nullptr);
  CHECK(b.state.counters().far_future == 7);
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
  node.state.expire_placements(std::chrono::seconds(5));
  CHECK(node.state.own_residency().size() == 10);
  node.state.expire_placements(std::chrono::seconds(7));
  CHECK(node.state.own_residency().size() == 0);
}

TEST_CASE("state: depth marks vanish one to two buckets after their last refresh") {
  Replica node(1);
  const std::uint64_t bucket = node.state.depth_bucket(kWall);
  node.state.mark_depth(bucket, 5, 3);
  node.state.expire_depth(kWall + 60'000);
  CHECK(node.state.depth().size() == 1);
  node.state.expire_depth(kWall + 121'000);
  CHECK(node.state.depth().size() == 0);
}

TEST_CASE("state: bucket sums differ where and only where two states do") {
  Replica a(1);
  Replica b(2);
  a.registry.add(seed("x1", "10.0.0.1:1"), kWall);
  a.state.mark_depth(a.state.depth_bucket(kWall), 7, 2);
  a.state.set_load(1, {.queued_requests = 3});
  a.state.set_health(1, false);
  a.state.set_status(StatusKey::ready, 1);
  const std::vector<std::uint64_t> blocks{1, 2, 3};
  a.state.place(1, blocks, {});
  const auto sums = [&a](const Replica& at, std::size_t kind) {
    return at.state.bucket_sums(static_cast<net::StreamKind>(kind), a.state.self().node);
  };
  for (std::size_t kind = 0; kind < net::kStreamKinds; ++kind) {
    CAPTURE(kind);
    const bool settings = kind == static_cast<std::size_t>(net::StreamKind::settings);
    CHECK((sums(a, kind) == sums(b, kind)) == settings);  // nobody has set anything
  }
  b.send_to(a);
  a.send_to(b);
  for (std::size_t kind = 0; kind < net::kStreamKinds; ++kind) {
    CAPTURE(kind);
    CHECK(sums(a, kind) == sums(b, kind));
  }
  const auto before = sums(b, 4);
  a.state.set_load(1, {.queued_requests = 4});
  a.send_to(b);
  // The old row leaves its bucket and the new one enters its own.
  const std::size_t moved = crdt::differing_buckets(before, sums(b, 4)).count();
  CHECK(moved >= 1);
  CHECK(moved <= 2);
}

}  // namespace dualmesh::node
