// The rows of the shared state as they travel: keys and values of every stream of net/mesh.capnp,
// and the replicated type each stream is.
//
// Each row type has a `hash_field`, so that every replica digests it alike. Ids are plain 64-bit
// numbers here: what they name is the business of node/.
//
// Threads: values.
#pragma once

#include <boost/container/static_vector.hpp>
#include <compare>
#include <cstdint>
#include <string>
#include <variant>

#include "crdt/feed.h"
#include "crdt/membership.h"
#include "crdt/registers.h"
#include "crdt/table.h"
#include "crdt/window_feed.h"

namespace dualmesh::net {

struct FieldKey {  // one field of one instance
  std::string instance;
  std::uint8_t field = 0;  // node::InstanceField
  auto operator<=>(const FieldKey&) const = default;
};

struct SettingKey {
  std::string name;
  auto operator<=>(const SettingKey&) const = default;
};

struct DepthKey {
  std::uint64_t bucket = 0;  // wall clock / bucket length
  std::uint64_t prefix = 0;
  auto operator<=>(const DepthKey&) const = default;
};

struct PlacementKey {
  std::uint64_t instance = 0;
  std::uint64_t block = 0;
  auto operator<=>(const PlacementKey&) const = default;
};

struct WaitingRow {  // policies::WaitingReport
  std::int32_t slack_ms = 0;
  std::uint32_t tokens = 0;
  bool operator==(const WaitingRow&) const = default;
};
inline constexpr std::size_t kMaxWaitingRows = 8;
using WaitingRows = boost::container::static_vector<WaitingRow, kMaxWaitingRows>;

struct LoadGauges {  // policies::Load; `queued_tokens` of the beacon row is the beacon
  std::uint32_t queued_requests = 0;
  std::uint32_t prefilling_requests = 0;
  std::uint32_t decoding_requests = 0;
  std::uint64_t queued_tokens = 0;
  std::uint64_t prefilling_tokens = 0;
  std::uint64_t decoding_tokens = 0;
  std::uint32_t head_wait_ms = 0;
  std::uint32_t prefill_left_ms = 0;
  WaitingRows waiting;
  bool operator==(const LoadGauges&) const = default;
};

struct ProbedHealth {
  bool healthy = true;
  bool operator==(const ProbedHealth&) const = default;
};

struct StatusNumber {
  std::uint64_t value = 0;
  bool operator==(const StatusNumber&) const = default;
};

using MembershipTable = crdt::Table<crdt::NodeId, crdt::Member>;
using RegistryTable = crdt::Table<FieldKey, crdt::LastWriter<std::string>>;
using SettingsTable = crdt::Table<SettingKey, crdt::MultiValue<std::string>>;
using DepthTable = crdt::Table<DepthKey, crdt::Max<std::uint32_t>>;
using LoadFeed = crdt::Feed<std::uint64_t, LoadGauges>;
using HealthFeed = crdt::Feed<std::uint64_t, ProbedHealth>;
using StatusFeed = crdt::Feed<std::uint8_t, StatusNumber>;
using ResidencyFeed = crdt::WindowFeed<PlacementKey>;

// In the order of wire::StreamKind and of DeltaBody's alternatives.
enum class StreamKind : std::uint8_t {
  membership,
  registry,
  settings,
  depth,
  load,
  health,
  status,
  residency,
};
inline constexpr std::size_t kStreamKinds = 8;
inline bool is_table(StreamKind kind) { return kind <= StreamKind::depth; }
const char* to_string(StreamKind kind);

using DeltaBody = std::variant<MembershipTable::Delta, RegistryTable::Delta, SettingsTable::Delta,
                               DepthTable::Delta, LoadFeed::Delta, HealthFeed::Delta,
                               StatusFeed::Delta, ResidencyFeed::Delta>;

struct StreamDelta {
  crdt::Origin origin;  // of the versions: the writer of a feed, the sender of a table
  DeltaBody body;

  StreamKind kind() const { return static_cast<StreamKind>(body.index()); }
};

struct StreamPosition {
  StreamKind kind = StreamKind::membership;
  crdt::Origin origin;
  crdt::Version version;
  crdt::StateDigest digest;
  bool partial = false;  // of a copy whose last delta was cut: its digest is compared with none
};

// How far a node holds the feeds of a writer; zero: nothing of that life.
struct FeedPositions {
  crdt::Origin writer;
  crdt::Version load;
  crdt::Version health;
  crdt::Version status;
  crdt::Version residency;
};

std::size_t hash_value(const PlacementKey& key);

void hash_field(crdt::EntryHasher& hasher, const FieldKey& key);
void hash_field(crdt::EntryHasher& hasher, const SettingKey& key);
void hash_field(crdt::EntryHasher& hasher, const DepthKey& key);
void hash_field(crdt::EntryHasher& hasher, const PlacementKey& key);
void hash_field(crdt::EntryHasher& hasher, const LoadGauges& gauges);
void hash_field(crdt::EntryHasher& hasher, const ProbedHealth& health);
void hash_field(crdt::EntryHasher& hasher, const StatusNumber& number);

}  // namespace dualmesh::net
