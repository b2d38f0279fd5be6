// The codec: everything written is read back equal, and hostile bytes are errors, never crashes.
#include "net/mesh_codec.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

namespace dualmesh::net {
namespace {

using crdt::Epoch;
using crdt::NodeId;
using crdt::Stamp;
using crdt::Version;

const crdt::Origin kWriter{NodeId{7}, Epoch{99}};

kj::Array<capnp::word> encoded(const StreamDelta& delta) {
  capnp::MallocMessageBuilder message;
  write_delta(delta, message.initRoot<wire::Delta>());
  return capnp::messageToFlatArray(message);
}

Result<StreamDelta> decoded(kj::ArrayPtr<const capnp::word> words) {
  try {
    capnp::FlatArrayMessageReader reader(words);
    return read_delta(reader.getRoot<wire::Delta>());
  } catch (const kj::Exception& exception) {
    return Error{exception.getDescription().cStr()};
  }
}

StreamDelta round_trip(const StreamDelta& delta) {
  auto words = encoded(delta);
  auto back = decoded(words);
  REQUIRE(back.has_value());
  CHECK(back->origin == delta.origin);
  CHECK(back->kind() == delta.kind());
  return *back;
}

crdt::Member some_member() {
  crdt::Member member;
  member.epoch = Epoch{123};
  member.refutations = 4;
  member.status = crdt::MemberStatus::suspect;
  member.name = "a";
  member.mesh_address = "a:7000";
  member.http_address = "a:8080";
  member.build = "1.0";
  return member;
}

}  // namespace

TEST_CASE("membership, registry, settings and depth survive the wire") {
  MembershipTable members;
  members.join(NodeId{1}, some_member());
  RegistryTable registry;
  registry.join({"e1", 3}, {Stamp{5 << 16, NodeId{2}}, "active"});
  registry.join({"e2", 0}, {Stamp{6 << 16, NodeId{3}}, std::string("h:1\0x", 5)});
  SettingsTable settings;
  crdt::MultiValue<std::string> left, right;
  left.assign(Stamp{10, NodeId{1}}, "dualmap");
  right.assign(Stamp{11, NodeId{2}}, "round_robin");
  left.join(right);
  REQUIRE(left.siblings().size() == 2);
  settings.join({"policy"}, left);
  DepthTable depth;
  depth.join({9, 77}, crdt::Max<std::uint32_t>{5});

  const auto all = [](const auto& table) { return table.delta_since(Version{}, 100); };
  const auto check_table = [&](auto table) {
    const StreamDelta back = round_trip({kWriter, all(table)});
    INFO(std::string(to_string(back.kind())));
    decltype(table) copy;
    const auto& body = std::get<typename decltype(table)::Delta>(back.body);
    CHECK(body.from_excluded == Version{});
    CHECK(body.to == table.version());
    copy.apply(body, [](const auto&, const auto&) {});
    CHECK(copy.digest() == table.digest());
    CHECK(copy.size() == table.size());
  };
  check_table(members);
  check_table(registry);
  check_table(settings);
  check_table(depth);
}

TEST_CASE("feeds survive the wire with their deletions, horizons and versions") {
  LoadFeed load;
  load.put(1, LoadGauges{1, 2, 3, 4, 5, 6, 7});
  load.put(2, LoadGauges{9, 0, 0, 0, 0, 0, 0});
  load.erase(2);
  LoadFeed load_copy;
  CHECK(load_copy.apply(std::get<LoadFeed::Delta>(
            round_trip({kWriter, load.delta_since(Version{}, 100)}).body)) ==
        crdt::Applied::changed);
  CHECK(load_copy.digest() == load.digest());
  CHECK(load_copy.version() == load.version());
  REQUIRE(load_copy.find(1) != nullptr);
  CHECK(*load_copy.find(1) == LoadGauges{1, 2, 3, 4, 5, 6, 7});
  CHECK(load_copy.find(2) == nullptr);

  HealthFeed health;
  health.put(5, ProbedHealth{false});
  HealthFeed health_copy;
  health_copy.apply(
      std::get<HealthFeed::Delta>(round_trip({kWriter, health.delta_since(Version{}, 100)}).body));
  CHECK(health_copy.digest() == health.digest());

  StatusFeed status;
  status.put(1, StatusNumber{~std::uint64_t{0}});
  StatusFeed status_copy;
  status_copy.apply(
      std::get<StatusFeed::Delta>(round_trip({kWriter, status.delta_since(Version{}, 100)}).body));
  CHECK(status_copy.digest() == status.digest());

  ResidencyFeed residency;
  for (std::uint64_t block = 0; block < 10; ++block) residency.touch({block % 2, block});
  residency.expire(Version{3});
  const auto ignore = [](const PlacementKey&) {};
  ResidencyFeed residency_copy;
  residency_copy.apply(std::get<ResidencyFeed::Delta>(
                           round_trip({kWriter, residency.delta_since(Version{}, 100)}).body),
                       ignore, ignore);
  CHECK(residency_copy.digest() == residency.digest());
  CHECK(residency_copy.floor() == Version{3});
}

TEST_CASE("what a load row says of the time left and of who waits survives the wire") {
  LoadFeed load;
  LoadGauges gauges{1, 2, 3, 4, 5, 6, 7, ~0U, {}};
  for (std::uint32_t i = 0; i < kMaxWaitingRows; ++i) {
    gauges.waiting.push_back({i % 2 == 0 ? INT32_MIN : INT32_MAX, ~0U - i});
  }
  load.put(1, gauges);
  load.put(2, LoadGauges{0, 1, 0, 0, 9, 0, 0, 1'500, {}});
  LoadFeed copy;
  copy.apply(
      std::get<LoadFeed::Delta>(round_trip({kWriter, load.delta_since(Version{}, 100)}).body));
  REQUIRE(copy.find(1) != nullptr);
  CHECK(*copy.find(1) == gauges);
  REQUIRE(copy.find(2) != nullptr);
  CHECK(copy.find(2)->prefill_left_ms == 1'500);
  CHECK(copy.find(2)->waiting.empty());
}

TEST_CASE("a node that tells more of who waits than we keep, or nothing, has our digest") {
  LoadGauges kept{3, 1, 0, 300, 100, 0, 0, 250, {}};
  for (std::uint32_t i = 0; i < kMaxWaitingRows; ++i) kept.waiting.push_back({5, i});
  LoadFeed told;
  told.put(1, kept);
  capnp::MallocMessageBuilder message;
  auto delta = message.initRoot<wire::Delta>();
  write_delta({kWriter, told.delta_since(Version{}, 9)}, delta);
  const auto hear = [&] {
    const auto read = read_delta(delta.asReader());
    REQUIRE(read.has_value());
    LoadFeed heard;
    heard.apply(std::get<LoadFeed::Delta>(read->body));
    CHECK(heard.digest() == told.digest());
    return *heard.find(1);
  };
  // Of a newer node, which tells 1,000.
  auto many = delta.getLoad()[0].initWaiting(1'000);
  for (unsigned i = 0; i < many.size(); ++i) {
    many[i].setSlackMs(5);
    many[i].setTokens(i);
  }
  CHECK(hear() == kept);
  // Of an older one, or through one that passes on what it knows.
  delta.getLoad()[0].disownWaiting();
  delta.getLoad()[0].setPrefillLeftMs(0);
  CHECK(hear() == LoadGauges{3, 1, 0, 300, 100, 0, 0});
}

TEST_CASE("positions and the saved state survive the wire") {
  capnp::MallocMessageBuilder message;
  auto list = message.initRoot<wire::Peer::PushResults>().initPositions(1);
  write_position({StreamKind::residency, kWriter, Version{42}, {3, 99}}, list[0]);
  auto positions = read_positions(list.asReader());
  REQUIRE(positions.has_value());
  REQUIRE(positions->size() == 1);
  CHECK(positions->front().kind == StreamKind::residency);
  CHECK(positions->front().origin == kWriter);
  CHECK(positions->front().version == Version{42});
  CHECK(positions->front().digest == crdt::StateDigest{3, 99});

  RegistryTable registry;
  registry.join({"e1", 0}, {Stamp{7, NodeId{1}}, "h:1"});
  SettingsTable settings;
  crdt::MultiValue<std::string> value;
  value.assign(Stamp{8, NodeId{1}}, "dualmap");
  settings.join({"policy"}, value);
  capnp::MallocMessageBuilder saved;
  write_saved(registry, settings, saved.initRoot<wire::SavedState>());
  auto back = read_saved(saved.getRoot<wire::SavedState>().asReader());
  REQUIRE(back.has_value());
  RegistryTable copy;
  copy.apply(back->registry, [](const auto&, const auto&) {});
  CHECK(copy.digest() == registry.digest());
  CHECK(back->settings.entries.size() == 1);
}

TEST_CASE("values beyond their bounds are errors that name them") {
  const auto message_of = [](const StreamDelta& delta) {
    auto words = encoded(delta);
    auto back = decoded(words);
    REQUIRE_FALSE(back.has_value());
    return back.error().message;
  };
  RegistryTable registry;
  registry.join({std::string(CodecLimits::kNameBytes + 1, 'x'), 0}, {Stamp{1, NodeId{1}}, "v"});
  CHECK(message_of({kWriter, registry.delta_since(Version{}, 9)}).find("instance name too long") !=
        std::string::npos);

  RegistryTable value;
  value.join({"e", 0}, {Stamp{1, NodeId{1}}, std::string(CodecLimits::kTextBytes + 1, 'x')});
  CHECK(message_of({kWriter, value.delta_since(Version{}, 9)}).find("field too long") !=
        std::string::npos);

  crdt::Member absurd = some_member();
  absurd.status = static_cast<crdt::MemberStatus>(9);
  MembershipTable members;
  members.join(NodeId{1}, absurd);
  CHECK(message_of({kWriter, members.delta_since(Version{}, 9)}).find("member status") !=
        std::string::npos);

  DepthTable depth;
  for (std::uint64_t i = 0; i <= CodecLimits::kRows; ++i) depth.join({1, i}, {1});
  CHECK(message_of({kWriter, depth.delta_since(Version{}, depth.size())}).find("too many rows") !=
        std::string::npos);
}

TEST_CASE("a kind that contradicts its rows, and placements without versions, are errors") {
  capnp::MallocMessageBuilder message;
  auto delta = message.initRoot<wire::Delta>();
  delta.setKind(wire::StreamKind::LOAD);
  delta.initHealth(0);
  CHECK_FALSE(read_delta(delta.asReader()).has_value());

  delta.setKind(wire::StreamKind::RESIDENCY);
  delta.initResidency(2);
  delta.initResidencyVersions(1);
  CHECK_FALSE(read_delta(delta.asReader()).has_value());
}

TEST_CASE("flipped and cut bytes are refused or read, never a crash") {
  RegistryTable registry;
  for (int i = 0; i < 20; ++i) {
    registry.join({"instance" + std::to_string(i), 1}, {Stamp{7, NodeId{1}}, "some value"});
  }
  const auto good = encoded({kWriter, registry.delta_since(Version{}, 100)});
  std::mt19937_64 random(1);
  std::size_t refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto words = kj::heapArray<capnp::word>(good.size());
    auto bytes = words.asBytes();
    std::ranges::copy(good.asBytes(), bytes.begin());
    for (std::size_t flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<kj::byte>(1U << (random() % 8));
    }
    const std::size_t keep = random() % 4 == 0 ? random() % words.size() : words.size();
    if (!decoded(words.slice(0, keep))) ++refused;
  }
  CHECK(refused > 0);
}

TEST_CASE("a member without an id is refused, in a delta as in a handshake") {
  MembershipTable::Delta body{Version{0}, Version{1}, {}};
  body.entries.push_back({NodeId{0}, crdt::Member{}});
  const auto words = encoded({kWriter, body});
  const auto refused = decoded(words);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("a member without an id") != std::string::npos);
  capnp::MallocMessageBuilder message;
  auto member = message.initRoot<wire::Member>();
  write_member(NodeId{0}, crdt::Member{}, member);
  CHECK_FALSE(read_member(member.asReader()).has_value());
}

TEST_CASE("a setting that more have written than may is refused before it is put in order") {
  const auto setting_by = [](unsigned writers) {
    capnp::MallocMessageBuilder message;
    auto delta = message.initRoot<wire::Delta>();
    delta.setKind(wire::StreamKind::SETTINGS);
    auto seen = delta.initSettings(1)[0].initSeen(writers);
    for (unsigned i = 0; i < writers; ++i) {
      seen[i].setWriter(writers - i);
      seen[i].setTime(1 + i);
    }
    return decoded(capnp::messageToFlatArray(message));
  };
  const auto refused = setting_by(CodecLimits::kSettingWriters + 1);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message.find("too many setting writers") != std::string::npos);
  const auto taken = setting_by(CodecLimits::kSettingWriters);
  REQUIRE(taken.has_value());
  const auto& seen = std::get<SettingsTable::Delta>(taken->body).entries[0].value.seen();
  CHECK(seen.size() == CodecLimits::kSettingWriters);
  CHECK(seen.at(NodeId{CodecLimits::kSettingWriters}) == 1);
  CHECK(seen.at(NodeId{1}) == CodecLimits::kSettingWriters);
}

TEST_CASE("of one writer named twice in a setting the later time counts") {
  capnp::MallocMessageBuilder message;
  auto delta = message.initRoot<wire::Delta>();
  delta.setKind(wire::StreamKind::SETTINGS);
  auto seen = delta.initSettings(1)[0].initSeen(3);
  const std::uint64_t times[] = {5, 9, 7};
  for (unsigned i = 0; i < 3; ++i) {
    seen[i].setWriter(3);
    seen[i].setTime(times[i]);
  }
  const auto taken = decoded(capnp::messageToFlatArray(message));
  REQUIRE(taken.has_value());
  CHECK(std::get<SettingsTable::Delta>(taken->body).entries[0].value.seen().at(NodeId{3}) == 9);
}

TEST_CASE("texts of a member with control characters are refused") {
  for (const char* bad : {"r\n2", "r2\x1b[2J", "\x7f"}) {
    CAPTURE(bad);
    crdt::Member named, addressed, reached, built;
    named.name = addressed.mesh_address = reached.http_address = built.build = bad;
    for (const crdt::Member& member : {named, addressed, reached, built}) {
      capnp::MallocMessageBuilder message;
      auto out = message.initRoot<wire::Member>();
      write_member(NodeId{1}, member, out);
      const auto refused = read_member(out.asReader());
      REQUIRE_FALSE(refused.has_value());
      CHECK(refused.error().message.find("control character") != std::string::npos);
    }
  }
}

}  // namespace dualmesh::net
