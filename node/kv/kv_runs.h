// Changes and entries of a map as bytes: runs of one kind, so that what a chain's blocks have in
// common is said once. Short names (kv_names.h) of removals that ascend are said by what lies
// between them.
//
// Threads: pure functions.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "node/kv/byte_codec.h"
#include "node/kv/kv_names.h"

namespace dualmesh::node {

// One step's changes; `name_bits` of their short removals.
void write_runs(std::span<const BlockChange> changes, unsigned name_bits, ByteWriter& out);
// Appends; how many.
std::size_t read_runs(ByteReader& in, unsigned name_bits, std::vector<BlockChange>& changes);

void write_entries(std::span<const std::pair<EngineHash, BlockMap::Entry>> entries,
                   ByteWriter& out);  // their number is said before
void read_entries(ByteReader& in, std::vector<std::pair<EngineHash, BlockMap::Entry>>& entries);

}  // namespace dualmesh::node
