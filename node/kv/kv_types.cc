#include "node/kv/kv_types.h"

#include <array>

#include "crdt/state_digest.h"

namespace dualmesh::node {

EngineHash in_medium(EngineHash hash, policies::Medium medium) {
  // The GPU's blocks are nearly all; they keep their hash.
  constexpr std::array<EngineHash, policies::kMedia> kMasks{
      0, 0x9e3779b97f4a7c15ULL, 0xc2b2ae3d27d4eb4fULL, 0x165667b19e3779f9ULL};
  return policies::block_name(hash ^ kMasks[static_cast<std::size_t>(medium)]);
}

std::uint64_t away_hash(crdt::Version away) {
  return away.value == 0 ? 0 : crdt::mixed(~away.value);
}

}  // namespace dualmesh::node
