// LongestHit: the request with the longest cached prefix first, then by arrival.
//
// Shared by the mesh: the placements that hits are read from; the queue is local.
// Source: DualMap (arXiv 2602.06502), its authors' code; longest prefix match of SGLang.
#pragma once

#include <limits>

#include "policies/queue_order.h"

namespace dualmesh::policies {

class LongestHit final : public QueueOrder {
 public:
  std::string_view name() const override { return "longest_hit"; }
  static std::uint64_t rank_of(std::uint32_t hit_tokens) {
    return std::numeric_limits<std::uint32_t>::max() - hit_tokens;
  }
  std::uint64_t rank(const Arrival&, std::uint32_t hit_tokens) const override {
    return rank_of(hit_tokens);
  }
};

}  // namespace dualmesh::policies
