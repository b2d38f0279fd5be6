// PrefixCache: the KV memory of one simulated instance, in blocks, with a prefix cache inside it.
//
// A block is free, private to one sequence, or shared under its chained key. A shared block is in
// use while a sequence holds it; with no holder it stays, evictable in the order of last use. A
// sequence gives its blocks back last block first, so the tail of a prefix goes before its head.
//
// Invariant: in_use + evictable <= capacity; a block in use is never evicted.
// Threads: none; a value.
// Source: automatic prefix caching as vLLM describes it (block pool with a free queue in LRU
// order).
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::node {

// Hears of each block that begins or ceases to be shared, in that order.
class CacheObserver {
 public:
  virtual ~CacheObserver() = default;
  virtual void stored(policies::BlockKey key) = 0;
  virtual void evicted(policies::BlockKey key) = 0;
  virtual void cleared() {}  // all at once
};

class PrefixCache {
 public:
  explicit PrefixCache(std::size_t capacity_blocks);

  // Null: nobody. It outlives the cache.
  void set_observer(CacheObserver* observer) { observer_ = observer; }

  // Leading blocks of `keys` that are held.
  std::size_t match(std::span<const policies::BlockKey> keys) const;
  // Takes the `held` blocks, all of which are held, and `more` private ones, evicting as needed.
  // False and no change when the blocks in use would exceed the capacity.
  bool acquire(std::span<const policies::BlockKey> held, std::size_t more);
  // One private block of the caller becomes a shared one that the caller holds. Where another
  // sequence has published the same key already, the caller holds that one and its own is freed.
  void publish(policies::BlockKey key);
  // Gives back `shared` blocks (in prompt order) and `private_blocks`.
  void release(std::span<const policies::BlockKey> shared, std::size_t private_blocks);

  // Forgets every shared block; false and no change while any block is in use.
  bool clear();
  std::vector<policies::BlockKey> shared_keys() const;  // in no order

  std::size_t capacity() const { return capacity_; }
  std::size_t in_use() const { return private_ + pinned_; }
  std::size_t evictable() const { return index_.size() - pinned_; }
  std::uint64_t evictions() const { return evictions_; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  struct Block {
    policies::BlockKey key = 0;
    std::uint32_t holders = 0;
    std::uint32_t older = kNone;
    std::uint32_t newer = kNone;
  };
  void hold(std::uint32_t at);
  void unhold(std::uint32_t at);
  void unlink(std::uint32_t at);
  void evict_until(std::size_t used_at_most);

  std::size_t capacity_;
  std::size_t private_ = 0;
  std::size_t pinned_ = 0;  // shared and held
  std::uint64_t evictions_ = 0;
  boost::unordered_flat_map<policies::BlockKey, std::uint32_t> index_;
  std::vector<Block> blocks_;
  std::vector<std::uint32_t> spare_;
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
  CacheObserver* observer_ = nullptr;
};

}  // namespace dualmesh::node
