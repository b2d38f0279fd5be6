// What the tests of KvState are written with: batches of changes, by blocks' hashes.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <vector>

#include "node/kv/kv_state.h"
#include "tests/node/kv/engine_twin.h"

namespace dualmesh::node::test {

inline const StreamKey kStream{"engine", 0};

// They hold on to the changes.
inline ObservedBatches as_batches(crdt::Epoch epoch, std::uint64_t from, std::uint64_t to,
                                  const std::vector<BlockChange>& changes,
                                  std::uint64_t digest = 7) {
  return {epoch, crdt::Version{from}, crdt::Version{to}, changes, digest, {16}};
}

inline BlockChange add(EngineHash hash, std::uint16_t depth = 0,
                       policies::Medium medium = policies::Medium::gpu) {
  return {BlockMap::Kind::add, hash, {EngineTwin::key_of(hash), depth, medium}};
}

inline BlockChange removal(EngineHash hash) { return {BlockMap::Kind::remove, hash, {}}; }

inline BlockChange clearing() { return {BlockMap::Kind::clear, 0, {}}; }

inline std::vector<BlockChange> many(EngineHash first, std::size_t count, std::uint16_t depth = 0) {
  std::vector<BlockChange> changes;
  for (std::size_t i = 0; i < count; ++i) changes.push_back(add(first + i, depth));
  return changes;
}

}  // namespace dualmesh::node::test
