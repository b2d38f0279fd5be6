// What the parts of cache knowledge speak of: streams, blocks, changes, positions.
//
// A stream is what one data-parallel rank of one instance says of its cache, in one life of the
// engine. Its steps are the engine's batches: step = sequence number + 1. Its epoch tells lives
// apart: the engine's time stamp of batch 0 in microseconds where an observer saw that batch, so
// that all who saw it agree without asking each other; else the stamp of the first batch anybody
// saw.
//
// Threads: values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "crdt/change_map.h"
#include "crdt/identity.h"
#include "node/kv/huge_pages.h"
#include "policies/block_index.h"
#include "policies/time.h"
#include "policies/token_chain.h"

namespace dualmesh::node {

// One rank of one instance, mesh-wide.
struct StreamKey {
  std::string instance;  // name in the registry
  std::uint32_t rank = 0;
  auto operator<=>(const StreamKey&) const = default;
};

// A block as the mesh holds it. Its key in the map is the engine's hash, mixed with the medium, so
// that a removal, which names the hash alone, resolves on every node.
struct __attribute__((packed, aligned(4))) Block {
  policies::BlockKey key = 0;  // 0: not known, as the block's parent was not; never claimed
  std::uint16_t depth = 0;     // 0 for the first block of a prompt
  policies::Medium medium = policies::Medium::gpu;
  std::uint8_t unused = 0;
  bool known() const { return key != 0; }
  bool operator==(const Block&) const = default;
};
using EngineHash = std::uint64_t;
// The map's key of an engine's block in a medium; a block_name (policies/token_chain.h).
inline EngineHash in_medium(EngineHash hash, policies::Medium medium) {
  // The GPU's blocks are nearly all; they keep their hash.
  constexpr std::array<EngineHash, policies::kMedia> kMasks{
      0, 0x9e3779b97f4a7c15ULL, 0xc2b2ae3d27d4eb4fULL, 0x165667b19e3779f9ULL};
  return policies::block_name(hash ^ kMasks[static_cast<std::size_t>(medium)]);
}

using BlockMap = crdt::ChangeMap<EngineHash, Block, HugePageAllocator>;
using BlockChange = BlockMap::Change;

// What a stream says of itself beside its blocks.
struct StreamFacts {
  std::uint32_t block_tokens = 0;  // 0: not known yet
  // The engine's cache group whose blocks decide on prefixes, which a removal names without saying
  // what it is. -1: not known yet.
  std::int16_t main_group = -1;
  bool operator==(const StreamFacts&) const = default;
};

// In a digest over the blocks and what is known beside them. 0: nothing was away.
std::uint64_t away_hash(crdt::Version away);

// How far somebody knows a stream. Ordered by what is worth more: epoch, end, completeness.
struct StreamPosition {
  crdt::Epoch epoch;             // 0: nothing is known
  crdt::Version base, end;       // base 0: complete
  std::uint64_t unknown = 0;     // blocks held without a key
  std::uint64_t last_batch = 0;  // digest of the batch at `end` (batch_digest); 0: not known
  crdt::StateDigest digest;      // of the map
  // The instance was away when its engine had come so far, and nothing has been said since: another
  // may be there that holds nothing. 0: not so.
  crdt::Version away = {};
  bool complete() const { return epoch.value != 0 && base.value == 0 && unknown == 0; }
  bool operator==(const StreamPosition&) const = default;
};

}  // namespace dualmesh::node
