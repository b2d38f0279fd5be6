// Changes and entries of a map as bytes: runs of one kind, so that what a chain's blocks have in
// common is said once.
//
// Threads: pure functions.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "node/kv/byte_codec.h"
#include "node/kv/kv_types.h"

namespace dualmesh::node {

// A removal whose key is 3 bytes, a ShortName (kv_codec.h), and not a hash.
inline bool is_short(const BlockChange& change) { return change.value.unused != 0; }
inline BlockChange short_removal(std::uint32_t name) {
  BlockChange change{BlockMap::Kind::remove, name, {}};
  change.value.unused = 1;
  return change;
}

// One step's changes.
void write_runs(std::span<const BlockChange> changes, ByteWriter& out);
// Appends; how many.
std::size_t read_runs(ByteReader& in, std::vector<BlockChange>& changes);

void write_entries(std::span<const std::pair<EngineHash, BlockMap::Entry>> entries,
                   ByteWriter& out);  // their number is said before
void read_entries(ByteReader& in, std::vector<std::pair<EngineHash, BlockMap::Entry>>& entries);

}  // namespace dualmesh::node
