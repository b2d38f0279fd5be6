// KvView: which caches there are, how far each is known, and where to look blocks up; what a
// decision needs of the knowledge of caches, and all it sees of it.
//
// Published anew whenever the set of caches or what is known of one changes; blocks come and go in
// the index meanwhile.
//
// Invariant: `index` lives at least as long as the view; what is derived fits `caches`.
// Threads: immutable after publication; share by shared_ptr<const KvView>. Source: ours.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "policies/block_index.h"
#include "policies/decision.h"

namespace dualmesh::node {

// A cache is one rank of one instance.
struct CacheOwner {
  policies::Slot slot = policies::kNoSlot;  // kNoSlot: nobody's, or everybody's (kSharedCache)
  std::uint32_t rank = 0;
  policies::HitSource confidence = policies::HitSource::unknown;
  std::uint32_t block_tokens = 0;  // 0: not known yet
};

struct KvView {
  const policies::BlockIndex* index = nullptr;
  std::vector<CacheOwner> caches;  // by cache id
  std::uint64_t generation = 0;

  // By derive().
  struct OfSlot {
    policies::HitSource confidence = policies::HitSource::predicted;  // of its least known rank
    std::uint32_t block_tokens = 0;
    std::uint32_t first_cache = 0, ranks = 0;  // in `by_rank`
  };
  std::vector<OfSlot> by_slot;             // predicted, or beyond the end: publishes no events
  std::vector<policies::CacheId> by_rank;  // caches by slot and rank
  std::vector<std::uint32_t> block_sizes;  // in use, ascending

  void derive();
  std::span<const policies::CacheId> ranks_of(const OfSlot& of_slot) const {
    return std::span(by_rank).subspan(of_slot.first_cache, of_slot.ranks);
  }
  // Does it publish events?
  bool has_events(policies::Slot slot) const {
    return slot < by_slot.size() && by_slot[slot].confidence != policies::HitSource::predicted;
  }
  bool has_events(std::span<const policies::Slot> slots) const;
};

}  // namespace dualmesh::node
