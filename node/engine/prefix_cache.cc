#include "node/engine/prefix_cache.h"

#include "net/error.h"

namespace dualmesh::node {

using policies::BlockKey;

PrefixCache::PrefixCache(std::size_t capacity_blocks) : capacity_(capacity_blocks) {}

std::size_t PrefixCache::match(std::span<const BlockKey> keys) const {
  std::size_t count = 0;
  while (count < keys.size() && index_.contains(keys[count])) ++count;
  return count;
}

bool PrefixCache::acquire(std::span<const BlockKey> held, std::size_t more) {
  std::size_t newly_pinned = 0;
  for (BlockKey key : held) {
    auto found = index_.find(key);
    DUALMESH_CHECK(found != index_.end(), "block {:x} is not held", key);
    if (blocks_[found->second].holders == 0) ++newly_pinned;
  }
  if (in_use() + newly_pinned + more > capacity_) return false;
  // Held first, so that making room cannot evict what was just matched.
  for (BlockKey key : held) hold(index_.find(key)->second);
  evict_until(capacity_ - more);
  private_ += more;
  return true;
}

void PrefixCache::publish(BlockKey key) {
  DUALMESH_CHECK(private_ > 0, "publish without a private block");
  --private_;
  auto [at, inserted] = index_.try_emplace(key, 0);
  if (inserted) {
    if (spare_.empty()) {
      spare_.push_back(static_cast<std::uint32_t>(blocks_.size()));
      blocks_.emplace_back();
    }
    at->second = spare_.back();
    spare_.pop_back();
    blocks_[at->second] = Block{.key = key, .holders = 1};
    ++pinned_;
    if (observer_ != nullptr) observer_->stored(key);
  } else {
    hold(at->second);
  }
}

void PrefixCache::release(std::span<const BlockKey> shared, std::size_t private_blocks) {
  DUALMESH_CHECK(private_blocks <= private_, "released {} of {}", private_blocks, private_);
  private_ -= private_blocks;
  for (std::size_t i = shared.size(); i-- > 0;) {
    auto found = index_.find(shared[i]);
    DUALMESH_CHECK(found != index_.end(), "block {:x} is not held", shared[i]);
    unhold(found->second);
  }
}

bool PrefixCache::clear() {
  if (in_use() > 0) return false;
  index_.clear();
  blocks_.clear();
  spare_.clear();
  oldest_ = newest_ = kNone;
  if (observer_ != nullptr) observer_->cleared();
  return true;
}

std::vector<BlockKey> PrefixCache::shared_keys() const {
  std::vector<BlockKey> keys;
  keys.reserve(index_.size());
  for (const auto& [key, at] : index_) keys.push_back(key);
  return keys;
}

void PrefixCache::hold(std::uint32_t at) {
  if (blocks_[at].holders++ == 0) {
    unlink(at);
    ++pinned_;
  }
}

void PrefixCache::unhold(std::uint32_t at) {
  Block& block = blocks_[at];
  DUALMESH_CHECK(block.holders > 0, "block {:x} released twice", block.key);
  if (--block.holders > 0) return;
  --pinned_;
  block.older = newest_;
  block.newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].newer) = at;
  newest_ = at;
}

void PrefixCache::unlink(std::uint32_t at) {
  Block& block = blocks_[at];
  (block.older == kNone ? oldest_ : blocks_[block.older].newer) = block.newer;
  (block.newer == kNone ? newest_ : blocks_[block.newer].older) = block.older;
  block.older = block.newer = kNone;
}

void PrefixCache::evict_until(std::size_t used_at_most) {
  while (private_ + index_.size() > used_at_most) {
    const std::uint32_t victim = oldest_;
    DUALMESH_CHECK(victim != kNone, "{} blocks used, none evictable", private_ + index_.size());
    unlink(victim);
    index_.erase(blocks_[victim].key);
    if (observer_ != nullptr) observer_->evicted(blocks_[victim].key);
    spare_.push_back(victim);
    ++evictions_;
  }
}

}  // namespace dualmesh::node
