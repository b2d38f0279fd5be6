// Short names of blocks: as many leading bits of where a hash table puts a hash as tell the block
// from nearly all others of its map, so that a table finds it by them.
//
// Threads: pure functions.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "node/kv/kv_types.h"

namespace dualmesh::node {

using ShortName = std::uint32_t;
inline constexpr unsigned kLeastNameBits = 16, kMostNameBits = 32;

// Of a map of so many blocks one in 30 to 60 has no name of its own.
inline unsigned name_bits_for(std::size_t blocks) {
  return std::clamp<unsigned>(static_cast<unsigned>(std::bit_width(blocks)) + 5, kLeastNameBits,
                              kMostNameBits);
}

inline ShortName short_name(EngineHash hash, unsigned bits) {
  return static_cast<ShortName>(crdt::table_order(hash) >> (64 - bits));
}

template <class Visit>  // visit(hash) of each in the map that is so named
void for_each_named(const BlockMap& map, ShortName name, unsigned bits, Visit&& visit) {
  const unsigned other = 64 - bits;
  const std::uint64_t lowest = std::uint64_t{name} << other;
  map.for_each_between(lowest, lowest | ((std::uint64_t{1} << other) - 1),
                       [&](EngineHash hash, const BlockMap::Entry&) { visit(hash); });
}

// A removal whose key is a ShortName and not a hash.
inline bool is_short(const BlockChange& change) { return change.value.unused != 0; }
inline BlockChange short_removal(ShortName name) {
  BlockChange change{BlockMap::Kind::remove, name, {}};
  change.value.unused = 1;
  return change;
}

}  // namespace dualmesh::node
