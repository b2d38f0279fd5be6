// BlockIndex: which caches hold which blocks, by what engines said; read by every request.
//
// A cache is one instance's rank, numbered densely by the owner; `kSharedCache` is the medium that
// all instances reach. A block is held in one or more media of a cache.
//
// Invariant: holds what the writer added and has not removed. Beyond `max_blocks` entries the deepest
// blocks are left out first: `depth_limit()` falls below the greatest depth, and what is deeper is
// neither held nor taken until the writer fills it anew (refill).
// Threads: one writer thread; longest_prefix from any thread at any time, never waiting, never seeing a
// half-written entry: it may miss what is being changed.
// Cost: add, remove O(1); longest_prefix O(blocks matched + holders of the first block); at most 24
// bytes per block held by one cache. Growth is spread over the changes that follow.
// Source: inverted index of llm-d's and Dynamo's cache indexers, made for one writer.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::policies {

enum class Medium : std::uint8_t { gpu, cpu, disk, shared };
inline constexpr std::size_t kMedia = 4;

using CacheId = std::uint16_t;
inline constexpr CacheId kSharedCache = 0;
inline constexpr CacheId kMaxCaches = 4096;

// What a block in each medium is worth, 1 being a block that need not be fetched.
using MediumWeights = std::array<float, kMedia>;
inline constexpr MediumWeights kMediumWeights{1.0f, 0.8f, 0.5f, 0.5f};

struct CacheMatch {
  CacheId cache = kSharedCache;
  std::uint32_t blocks = 0;   // leading blocks held there, the shared medium included
  float weighted = 0.0f;      // the same, each by the best medium that has it
};

class BlockIndex {
 public:
  struct Limits {
    std::size_t max_blocks = 16'000'000;  // (block, cache) pairs
  };
  explicit BlockIndex(Limits limits);
  ~BlockIndex();
  BlockIndex(const BlockIndex&) = delete;
  BlockIndex& operator=(const BlockIndex&) = delete;

  // Writer. Adding what is held, or removing what is not, changes nothing. `depth`: 0 for the first
  // block of a prompt.
  void prefetch(BlockKey key) const;  // a hint: this key is added or removed soon
  void add(BlockKey key, CacheId cache, Medium medium, std::uint16_t depth);
  void remove(BlockKey key, CacheId cache, Medium medium);
  // Blocks at this depth or deeper were left out; UINT32_MAX: none was. When it falls, the owner
  // removes what it holds from there on (it knows the depths), a piece at a time.
  std::uint32_t depth_limit() const;
  void upkeep(std::size_t at_most);  // bounded work of growing and of freeing what readers have left

  // Any thread. Every cache that holds the first key, and the shared medium's if it does; `out` is
  // replaced.
  void longest_prefix(std::span<const BlockKey> keys, const MediumWeights& weights,
                      std::vector<CacheMatch>& out) const;
  // Does any cache hold it?
  bool holds(BlockKey key) const;

  std::size_t size() const;          // (block, cache) pairs; any thread
  std::size_t memory_bytes() const;  // any thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::policies
