#include "net/mesh_rows.h"

namespace dualmesh::net {

const char* to_string(StreamKind kind) {
  static constexpr const char* kNames[kStreamKinds] = {
      "membership", "registry", "settings", "depth", "load", "health", "status", "residency"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::size_t hash_value(const PlacementKey& key) {
  // Blocks are hashes already; the instance decorrelates equal blocks at several instances.
  return key.block ^ (key.instance * 0x9e3779b97f4a7c15ULL);
}

void hash_field(crdt::EntryHasher& hasher, const FieldKey& key) {
  hasher.add(std::span<const char>(key.instance)).add(key.field);
}

void hash_field(crdt::EntryHasher& hasher, const SettingKey& key) {
  hasher.add(std::span<const char>(key.name));
}

void hash_field(crdt::EntryHasher& hasher, const DepthKey& key) {
  hasher.add(key.bucket).add(key.prefix);
}

void hash_field(crdt::EntryHasher& hasher, const PlacementKey& key) {
  hasher.add(key.instance).add(key.block);
}

void hash_field(crdt::EntryHasher& hasher, const LoadGauges& gauges) {
  hasher.add(gauges.queued_requests).add(gauges.prefilling_requests).add(gauges.decoding_requests);
  hasher.add(gauges.queued_tokens).add(gauges.prefilling_tokens).add(gauges.decoding_tokens);
  hasher.add(gauges.head_wait_ms);
  // Not of what was added since: nodes that do not know it, or keep less of it, agree with those
  // that do. A row that is said anew has another version, which is hashed beside this.
}

void hash_field(crdt::EntryHasher& hasher, const ProbedHealth& health) {
  hasher.add(health.healthy);
}

void hash_field(crdt::EntryHasher& hasher, const StatusNumber& number) { hasher.add(number.value); }

}  // namespace dualmesh::net
