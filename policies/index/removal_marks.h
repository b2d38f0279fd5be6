// RemovalMarks: which blocks were removed from which caches lately, and when.
//
// What was placed at an instance is expected there until its engine says so; a mark tells that it
// has said so already and has taken it back since.
//
// Invariant: removed_at() is a time at which it was removed, or nothing. The last removals are
// kept, each in one place that others take as well; a mark that is lost costs an estimate.
// Threads: one writer; removed_at from any thread, never waiting. Time is an argument.
// Source: a direct-mapped cache; ours.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "policies/block_index.h"
#include "policies/time.h"

namespace dualmesh::policies {

class RemovalMarks {
 public:
  static constexpr std::size_t kPlaces = 1 << 16;
  // In place of a key: all that a cache held is gone.
  static constexpr BlockKey kAll = 0;

  void removed(BlockKey key, CacheId cache, Time now) {
    const std::uint64_t hash = hash_of(key, cache);
    places_[place_of(hash)].store(tag_of(hash) | (in_ms(now) & kTimeMask),
                                  std::memory_order_relaxed);
  }
  std::optional<Time> removed_at(BlockKey key, CacheId cache) const {
    const std::uint64_t hash = hash_of(key, cache);
    const std::uint64_t mark = places_[place_of(hash)].load(std::memory_order_relaxed);
    if (mark == 0 || (mark & ~kTimeMask) != tag_of(hash)) return std::nullopt;
    return std::chrono::milliseconds(mark & kTimeMask);
  }

 private:
  static constexpr std::uint64_t kTimeMask = (std::uint64_t{1} << 40) - 1;  // 34 years

  static std::uint64_t in_ms(Time time) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
  }
  static std::uint64_t hash_of(BlockKey key, CacheId cache) {
    return (key ^ cache * 0xc2b2ae3d27d4eb4f) * 0x9e3779b97f4a7c15;
  }
  // The highest bits, which depend on all others, and the next.
  static std::size_t place_of(std::uint64_t hash) { return hash >> 48; }
  static std::uint64_t tag_of(std::uint64_t hash) { return hash << 16 & ~kTimeMask; }

  std::unique_ptr<std::atomic<std::uint64_t>[]> places_ =
      std::make_unique<std::atomic<std::uint64_t>[]>(kPlaces);
};

}  // namespace dualmesh::policies
