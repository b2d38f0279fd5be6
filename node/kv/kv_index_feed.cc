#include "node/kv/kv_index_feed.h"

#include <algorithm>

namespace dualmesh::node {

using policies::CacheId;

// Addresses of the index's memory for each of its blocks: twice what it holds at its emptiest, for
// what lies between.
constexpr std::size_t kMostIndexBytes = 48;

KvIndexFeed::KvIndexFeed(std::size_t max_blocks)
    : max_held_(max_blocks - max_blocks / 4),
      max_leaving_(max_blocks / 4),
      memory_(kMostIndexBytes * max_blocks),
      index_({max_blocks}, &memory_),
      depth_limit_(index_.depth_limit()) {
  for (CacheId id = policies::kSharedCache + 1; id < policies::kMaxCaches; ++id)
    free_.push_back(id);
}

std::optional<CacheId> KvIndexFeed::take_id() {
  const auto retired = [](const Leaving& leaving) { return leaving.retired; };
  while (free_.empty() && std::any_of(leaving_.begin(), leaving_.end(), retired)) {
    remove_some(leaving_.front().blocks.size() + 1);
  }
  if (free_.empty()) return std::nullopt;
  const CacheId id = free_.front();
  free_.pop_front();
  return id;
}

void KvIndexFeed::retire(CacheId cache, const BlockMap& map) {
  Leaving leaving{cache, true, {}};
  leaving.blocks.reserve(map.present());
  map.for_each([&](EngineHash, const BlockMap::Entry& entry) {
    if (entry.visible()) leaving.blocks.emplace_back(entry.value.key, entry.value.medium);
  });
  leave(std::move(leaving));
}

void KvIndexFeed::leave(Leaving&& leaving) {
  blocks_leaving_ += leaving.blocks.size();
  leaving_.push_back(std::move(leaving));
  if (blocks_leaving_ > max_leaving_) remove_some(blocks_leaving_ - max_leaving_);
}

void KvIndexFeed::drop_deep(CacheId cache, const BlockMap& map) {
  Leaving leaving{cache, false, {}};
  map.for_each([&](EngineHash, const BlockMap::Entry& entry) {
    if (!entry.visible() || entry.value.depth < depth_limit_) return;
    leaving.blocks.emplace_back(entry.value.key, entry.value.medium);
  });
  if (!leaving.blocks.empty()) leave(std::move(leaving));
}

bool KvIndexFeed::depth_limit_fell() {
  const std::uint32_t now = index_.depth_limit();
  const bool fell = now < depth_limit_;
  depth_limit_ = now;
  return fell;
}

bool KvIndexFeed::refill(std::size_t held) {
  const bool all_taken = index_.depth_limit() == UINT32_MAX;
  if (all_taken || held >= max_held_ || blocks_leaving_ > 0) return false;
  index_.refill();
  depth_limit_ = index_.depth_limit();
  return true;
}

void KvIndexFeed::remove_some(std::size_t at_most) {
  constexpr std::size_t kAhead = 16;  // enough to hide cache misses
  while (!leaving_.empty()) {
    Leaving& leaving = leaving_.front();
    for (; at_most > 0 && !leaving.blocks.empty(); --at_most) {
      const std::size_t left = leaving.blocks.size();
      if (left > kAhead) index_.prefetch(leaving.blocks[left - 1 - kAhead].first);
      const auto [key, medium] = leaving.blocks.back();
      leaving.blocks.pop_back();
      --blocks_leaving_;
      index_.remove(key, leaving.cache, medium);
    }
    if (!leaving.blocks.empty()) return;
    if (leaving.retired) free_.push_back(leaving.cache);
    leaving_.pop_front();
  }
}

void KvIndexFeed::upkeep(std::size_t at_most) {
  remove_some(at_most);
  index_.upkeep(at_most);
}

}  // namespace dualmesh::node
