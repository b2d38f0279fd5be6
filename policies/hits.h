// Hits: how much of a prompt each instance is thought to have cached, and how sure that is.
//
// Threads: none; functions of values. Source: ours.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "policies/scheduler.h"

namespace dualmesh::policies {

// Cached prefix tokens of the request at `slot`.
inline std::uint32_t hit_tokens(const Arrival& arrival, Slot slot) {
  if (slot >= arrival.hit_tokens.size()) return 0;
  return std::min(arrival.hit_tokens[slot], arrival.input_tokens);
}

inline HitSource hit_source(const Arrival& arrival, Slot slot) {
  return slot < arrival.hit_sources.size() ? arrival.hit_sources[slot] : HitSource::predicted;
}

// Hits in blocks of a chain, by slot (ResidencyIndex::longest_prefix), made tokens.
inline void to_tokens(std::vector<std::uint32_t>& hits, std::uint32_t block_tokens) {
  for (std::uint32_t& hit : hits) {
    const std::uint64_t tokens = std::uint64_t{hit} * block_tokens;
    hit = static_cast<std::uint32_t>(std::min<std::uint64_t>(tokens, UINT32_MAX));
  }
}

}  // namespace dualmesh::policies
