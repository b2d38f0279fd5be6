// KvIndexFeed: the way from the maps of streams into the index of decisions.
//
// A stream's life in the index is a cache id. When a life ends (another epoch, a stream given up or
// dropped), its id is retired: readers no longer find it under the stream, and its blocks leave the
// index piece by piece; only then is the id free again, and the ids that rested longest go first.
//
// Invariant: under the id of a live map the index holds the map's visible blocks above the depth
// limit, apart from deeper ones that are still to leave.
// Threads: none; the index's writer.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "node/kv/kv_types.h"
#include "policies/block_index.h"
#include "policies/index/removal_marks.h"

namespace dualmesh::node {

class KvIndexFeed {
 public:
  explicit KvIndexFeed(std::size_t max_blocks);

  std::optional<policies::CacheId> take_id();  // nothing: all are in use
  // All of `map` leaves the index and the id with it.
  void retire(policies::CacheId cache, const BlockMap& map);
  // Blocks at the index's depth limit or deeper leave.
  void drop_deep(policies::CacheId cache, const BlockMap& map);
  void upkeep(std::size_t at_most);
  // True once after each fall of the depth limit.
  bool depth_limit_fell();
  // Takes blocks of any depth again, if some are left out and all `held` ones leave a quarter free:
  // then the owner adds them all again.
  bool refill(std::size_t held);
  std::size_t leaving() const { return blocks_leaving_; }  // how many blocks are still to leave

  void add(policies::CacheId cache, const Block& block) {
    index_.add(block.key, cache, block.medium, block.depth);
  }
  void remove(policies::CacheId cache, const Block& block) {
    removals_.removed(block.key, cache, now_);
    index_.remove(block.key, cache, block.medium);
  }
  void prefetch(const Block& block) const { index_.prefetch(block.key); }  // a hint

  // The time of the changes that follow.
  void set_time(policies::Time now) { now_ = now; }
  // `cache` goes on in place of one that has lost all.
  void begins_empty(policies::CacheId cache) {
    removals_.removed(policies::RemovalMarks::kAll, cache, now_);
  }

  const policies::BlockIndex& index() const { return index_; }
  const policies::RemovalMarks& removals() const { return removals_; }

 private:
  using Place = std::pair<policies::BlockKey, policies::Medium>;
  struct Leaving {
    policies::CacheId cache;
    bool retired;  // the id is free afterwards
    std::vector<Place> blocks;
  };

  void leave(Leaving&& leaving);
  void remove_some(std::size_t at_most);

  const std::size_t max_held_;     // that a refill is worth while
  const std::size_t max_leaving_;  // beyond it they leave at once

  HugePageArena memory_;  // the index's
  policies::BlockIndex index_;
  policies::RemovalMarks removals_;
  policies::Time now_{};
  std::deque<policies::CacheId> free_;
  std::deque<Leaving> leaving_;
  std::size_t blocks_leaving_ = 0;
  std::uint32_t depth_limit_;
};

// What a map's changes mean for the index; passed to ChangeMap as its observer.
struct MapObserver {
  KvIndexFeed& feed;
  policies::CacheId cache;
  std::uint32_t& deepest;  // of the map, ever, as is the next
  bool& shares;            // in the shared medium

  void appeared(EngineHash, const Block& block) {
    if (block.depth > deepest) deepest = block.depth;
    if (block.medium == policies::Medium::shared) shares = true;
    feed.add(cache, block);
  }
  void vanished(EngineHash, const Block& block) { feed.remove(cache, block); }
  void soon(EngineHash, const Block& block) const { feed.prefetch(block); }
};

}  // namespace dualmesh::node
