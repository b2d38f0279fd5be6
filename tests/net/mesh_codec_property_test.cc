// Encode and decode are inverse for every stream: random histories, random cuts. Status numbers are
// never erased, and an instance has a name: the wire has no form for the opposite.
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <array>
#include <string>
#include <vector>

#include "net/mesh_codec.h"

namespace dualmesh::net {
namespace {

using Steps = std::vector<std::array<std::uint8_t, 4>>;
using crdt::Epoch;
using crdt::NodeId;
using crdt::Stamp;
using crdt::Version;

const crdt::Origin kOrigin{NodeId{7}, Epoch{99}};

kj::Array<capnp::word> encode(const StreamDelta& delta) {
  capnp::MallocMessageBuilder message;
  write_delta(delta, message.initRoot<wire::Delta>());
  return capnp::messageToFlatArray(message);
}

template <class Key, class Value, class Delta>
void deliver(crdt::Feed<Key, Value>& feed, const Delta& delta) {
  feed.apply(delta);
}
template <class Key, class Lattice, class Delta>
void deliver(crdt::Table<Key, Lattice>& table, const Delta& delta) {
  table.apply(delta, [](auto&&...) {});
}
template <class Delta>
void deliver(ResidencyFeed& feed, const Delta& delta) {
  const auto ignore = [](const PlacementKey&) {};
  feed.apply(delta, ignore, ignore);
}

// `state` after `from_byte`: what is read back encodes to the same bytes and does the same.
template <class State>
void assert_identity(const State& state, std::uint8_t from_byte, std::uint8_t rows_byte) {
  const Version from{from_byte % (state.version().value + 1)};
  const auto sent = state.delta_since(from, 1u + rows_byte % 16);
  const auto words = encode({kOrigin, sent});
  capnp::FlatArrayMessageReader reader(words);
  const auto read = read_delta(reader.getRoot<wire::Delta>());
  if (!read.has_value()) RC_FAIL(read.error().message);
  RC_ASSERT(read->origin == kOrigin);
  const bool same_bytes = encode(*read).asBytes() == words.asBytes();
  RC_ASSERT(same_bytes);

  const auto& received = std::get<typename State::Delta>(read->body);
  RC_ASSERT(received.from_excluded == sent.from_excluded);
  RC_ASSERT(received.to == sent.to);
  RC_ASSERT(received.entries.size() == sent.entries.size());
  State by_sent, by_received;
  deliver(by_sent, state.delta_since({}, 1'000));
  deliver(by_received, state.delta_since({}, 1'000));
  deliver(by_sent, sent);
  deliver(by_received, received);
  State fresh_by_sent, fresh_by_received;
  deliver(fresh_by_sent, sent);
  deliver(fresh_by_received, received);
  RC_ASSERT(by_sent.bucket_sums() == by_received.bucket_sums());
  const bool same = fresh_by_sent.bucket_sums() == fresh_by_received.bucket_sums();
  RC_ASSERT(same);
  RC_ASSERT(fresh_by_sent.version() == fresh_by_received.version());
}

std::string text(std::uint8_t byte) {
  return std::string(byte % 7, static_cast<char>(byte));  // any byte, and none
}

std::string printable(std::uint8_t byte) {  // as the names of nodes are
  return text(byte < ' ' || byte == 0x7f ? 'x' : byte);
}

TEST_CASE("tables: what is decoded is what was encoded") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t from, std::uint8_t rows) {
    MembershipTable members;
    RegistryTable registry;
    SettingsTable settings;
    DepthTable depth;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto& [a, b, c, d] = steps[i];
      members.join(NodeId{1 + a % 8u}, {Epoch{b}, c, crdt::MemberStatus(d % 4), printable(a),
                                        printable(b), printable(c), printable(d)});
      registry.join({"i" + text(a % 3), static_cast<std::uint8_t>(b % 8)},
                    {Stamp{std::uint64_t{c} << 40, NodeId{d}}, text(d)});
      crdt::MultiValue<std::string> edit;
      edit.assign(Stamp{i + 1, NodeId{b % 4u}}, text(c));
      settings.join({"s" + std::to_string(a % 3)}, edit);
      depth.join({a % 4u, ~std::uint64_t{b}}, {std::uint32_t{c} << 24});
    }
    assert_identity(members, from, rows);
    assert_identity(registry, from, rows);
    assert_identity(settings, from, rows);
    assert_identity(depth, from, rows);
  }));
}

TEST_CASE("feeds: what is decoded is what was encoded, deletions, horizons and floors included") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t from, std::uint8_t rows) {
    LoadFeed load;
    HealthFeed health;
    StatusFeed status;
    ResidencyFeed residency;
    for (const auto& [a, b, c, d] : steps) {
      const std::uint64_t key = a % 8u;
      if (b % 4 == 0) {
        load.erase(key), health.erase(key);
      } else {
        WaitingRows waiting;
        while (waiting.size() < d % (kMaxWaitingRows + 1)) {
          waiting.push_back({(c - 128) << 24, std::uint32_t{a} << waiting.size()});
        }
        load.put(key, {c, d, a, std::uint64_t{b} << 50, c, d, std::uint32_t{a} << 20,
                       std::uint32_t{c} << 24, waiting});
        health.put(key, {c % 2 == 0});
        status.put(static_cast<std::uint8_t>(key), {std::uint64_t{c} << 56});
      }
      if (d % 16 == 0) load.collect(load.version()), health.collect(health.version());
      residency.touch({key, ~std::uint64_t{c}});
      if (d % 16 == 1) residency.expire(Version{residency.version().value / 2});
    }
    assert_identity(load, from, rows);
    assert_identity(health, from, rows);
    assert_identity(status, from, rows);
    assert_identity(residency, from, rows);
  }));
}

}  // namespace
}  // namespace dualmesh::net
