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
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policies/block_index.h"
#include "policies/decision.h"
#include "policies/fleet_view.h"
#include "policies/index/removal_marks.h"

namespace dualmesh::node {

// A cache is one rank of one instance.
struct CacheOwner {
  policies::Slot slot = policies::kNoSlot;  // kNoSlot: nobody's
  std::uint32_t rank = 0;
  policies::HitSource confidence = policies::HitSource::unknown;
  std::uint32_t block_tokens = 0;  // 0: not known yet
  bool shares = false;             // has stored blocks in a medium that others reach
  policies::InstanceId instance = 0;
};

struct KvView {
  const policies::BlockIndex* index = nullptr;
  const policies::RemovalMarks* removals = nullptr;  // null: not known
  std::vector<CacheOwner> caches;  // by cache id
  std::uint64_t generation = 0;
  // Caches that share a medium, by the model that their instances serve: what one of them has
  // stored there the others find, too. Instances of other models, and those that have not shown to
  // have such a medium, find nothing in it.
  std::map<std::string, policies::CacheGroup, std::less<>> groups;

  // By derive().
  struct OfSlot {
    policies::HitSource confidence = policies::HitSource::predicted;  // of its least known rank
    std::uint32_t block_tokens = 0;
    std::uint32_t first_cache = 0, ranks = 0;  // in `by_rank`
    policies::InstanceId instance = 0;
  };
  std::vector<OfSlot> by_slot;             // predicted, or beyond the end: publishes no events
  std::vector<policies::CacheId> by_rank;  // caches by slot and rank
  std::vector<std::uint32_t> block_sizes;  // in use, ascending

  void derive();
  void derive_groups(const policies::FleetView& fleet);
  const policies::CacheGroup* group_of(std::string_view model) const;  // null: none share
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
