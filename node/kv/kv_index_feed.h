// KvIndexFeed: the way from the maps of streams into the index of decisions.
//
// A stream's life in the index is a cache id. When a life ends (another epoch, a stream given up or
// dropped), its id is retired: readers no longer find it under the stream, and its blocks leave the
// index piece by piece; only then is the id free again, and the ids that rested longest go first.
// What all instances reach is held in the shared medium once, counted by streams that say so.
//
// Invariant: under the id of a live map the index holds the map's visible blocks above the depth
// limit, apart from deeper ones that are still to leave.
// Threads: none; the index's writer.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "node/kv/kv_types.h"
#include "policies/block_index.h"

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
  void add_again(policies::CacheId cache, const Block& block);
  std::size_t leaving() const { return blocks_leaving_; }  // how many blocks are still to leave

  void add(policies::CacheId cache, const Block& block);
  void remove(policies::CacheId cache, const Block& block);
  void prefetch(const Block& block) const { index_.prefetch(block.key); }  // a hint

  const policies::BlockIndex& index() const { return index_; }

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
  std::deque<policies::CacheId> free_;
  std::deque<Leaving> leaving_;
  std::size_t blocks_leaving_ = 0;
  boost::unordered_flat_map<policies::BlockKey, std::uint32_t> shared_;  // by how many streams
  std::uint32_t depth_limit_;
};

// What a map's changes mean for the index; passed to ChangeMap as its observer.
struct MapObserver {
  KvIndexFeed& feed;
  policies::CacheId cache;
  std::uint32_t& deepest;  // of the map, ever

  void appeared(EngineHash, const Block& block) {
    if (block.depth > deepest) deepest = block.depth;
    feed.add(cache, block);
  }
  void vanished(EngineHash, const Block& block) { feed.remove(cache, block); }
  void soon(EngineHash, const Block& block) const { feed.prefetch(block); }
};

}  // namespace dualmesh::node
