// HolderSets: sets of caches that hold a block, each kept once however many blocks it is the set
// of.
//
// The blocks of one prompt mostly have the same holders, and there are far fewer sets than
// blocks. So a block that several caches hold names its set by number: 4 bytes, and a reader
// sees by the number that the next block has the same holders. A set never changes.
//
// Invariant: a set lives while somebody refers to it and until every reader that could have seen
// its number has left. Holders rise in cache. Cost: intern O(holders). Threads: holders_of()
// from any thread under a Reading, the rest the writer's. Source: hash consing.
#pragma once

#include <array>
#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "policies/index/reclaimer.h"

namespace dualmesh::policies {

// A cache and in which of its media it has the block: cache << 4 | a bit for each medium.
using Holder = std::uint16_t;
inline constexpr int kMediaBits = 4;

using HolderSetId = std::uint32_t;
inline constexpr int kHolderSetBits = 27;

class HolderSets {
 public:
  explicit HolderSets(Reclaimer& reclaimer) : reclaimer_(reclaimer), chunks_(kChunks) {}
  ~HolderSets();

  // The caller refers to it from then on, until it says release().
  HolderSetId intern(std::span<const Holder> holders);
  void release(HolderSetId id);
  std::span<const Holder> holders_of(HolderSetId id) const {
    const Set* const set = entry(id).load(std::memory_order_acquire);
    return {set->holders(), set->count};
  }
  std::size_t size() const { return by_hash_.size() + unshared_; }
  std::size_t memory_bytes() const;

 private:
  struct Set {  // its holders lie behind it
    std::uint64_t hash;
    std::uint32_t references;  // the writer's
    std::uint32_t count;
    const Holder* holders() const { return reinterpret_cast<const Holder*>(this + 1); }
    Holder* holders() { return reinterpret_cast<Holder*>(this + 1); }
    std::size_t bytes() const { return sizeof(Set) + count * sizeof(Holder); }
  };
  static constexpr int kChunkBits = 14;
  static constexpr std::size_t kChunks = std::size_t{1} << (kHolderSetBits - kChunkBits);
  using Chunk = std::array<std::atomic<Set*>, std::size_t{1} << kChunkBits>;

  std::atomic<Set*>& entry(HolderSetId id) const {
    Chunk* const chunk = chunks_[id >> kChunkBits].load(std::memory_order_acquire);
    return (*chunk)[id & ((1u << kChunkBits) - 1)];
  }
  HolderSetId new_id();
  void free(HolderSetId id);

  Reclaimer& reclaimer_;
  std::vector<std::atomic<Chunk*>> chunks_;
  boost::unordered_flat_map<std::uint64_t, HolderSetId> by_hash_;
  std::vector<HolderSetId> free_ids_;
  HolderSetId next_id_ = 0;
  std::size_t unshared_ = 0;  // sets whose hash another one has
  std::size_t set_bytes_ = 0;
};

}  // namespace dualmesh::policies
