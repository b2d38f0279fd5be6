// BlockIndex: which caches hold which blocks, by what engines said; read by every request.
//
// A cache is one instance's rank, numbered densely by the owner. A block is held in one or more
// media of a cache; what one holds in the shared medium all of its group reach, whom the reader
// names.
//
// Invariant: holds what the writer added and has not removed, at most `max_blocks` pairs. Beyond
// that the deepest blocks are left out first: `depth_limit()` falls so far that a sixteenth
// becomes free, and what is as deep or deeper is not taken and is dropped, a few entries with
// each addition, until the writer fills the index anew (refill).
// Threads: one writer thread; longest_prefix, holds, size and memory_bytes from any thread at
// any time, never waiting, never seeing a half-written entry: they may miss what is being
// changed.
// Cost: add, remove O(1), O(holders) of a block that several hold; longest_prefix O(blocks
// matched + holders where they change); 18 to 24 bytes per block held by one cache, up to 32 after
// many have gone. Growth is by 1/4096 at once. Source: inverted index of llm-d's and Dynamo's cache
// indexers, made for one writer.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <memory_resource>
#include <span>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::policies {

enum class Medium : std::uint8_t { gpu, cpu, disk, shared };
inline constexpr std::size_t kMedia = 4;

using CacheId = std::uint16_t;
inline constexpr CacheId kSharedCache = 0;  // nobody's: the shared medium of a group
inline constexpr CacheId kMaxCaches = 4096;
using CacheGroup = std::bitset<kMaxCaches>;  // who share a medium

// What a block in each medium is worth, 1 being a block that need not be fetched.
using MediumWeights = std::array<float, kMedia>;
inline constexpr MediumWeights kMediumWeights{1.0f, 0.8f, 0.5f, 0.5f};

struct CacheMatch {
  CacheId cache = kSharedCache;
  std::uint32_t blocks = 0;  // leading blocks held there, its group's shared medium included
  float weighted = 0.0f;     // the same, each by the best medium that has it
};

class BlockIndex {
 public:
  struct Limits {
    std::size_t max_blocks = 16'000'000;  // (block, cache) pairs
  };
  // `memory` gives and takes large pieces, by the writer's thread alone; it outlives the index.
  explicit BlockIndex(Limits limits,
                      std::pmr::memory_resource* memory = std::pmr::new_delete_resource());
  ~BlockIndex();
  BlockIndex(const BlockIndex&) = delete;
  BlockIndex& operator=(const BlockIndex&) = delete;

  // Writer. Adding what is held, or removing what is not, changes nothing. `depth`: 0 for the first
  // block of a prompt.
  void prefetch(BlockKey key) const;  // a hint: this key is added or removed soon
  void add(BlockKey key, CacheId cache, Medium medium, std::uint16_t depth);
  void remove(BlockKey key, CacheId cache, Medium medium);
  // Blocks at this depth or deeper were left out; UINT32_MAX: none was.
  std::uint32_t depth_limit() const;
  // Takes blocks of any depth again: the writer now adds those that were left out.
  void refill();
  // Drops what the depth limit leaves out, of at most so many cache lines, and frees what readers
  // have left. To be called now and then, also when nothing changes.
  void upkeep(std::size_t at_most);

  // Any thread. Every cache that holds the first key, and kSharedCache if some of the group has it
  // in the shared medium; `out` is replaced.
  void longest_prefix(std::span<const BlockKey> keys, const MediumWeights& weights,
                      std::vector<CacheMatch>& out, const CacheGroup* group = nullptr) const;
  // Does any cache hold it?
  bool holds(BlockKey key) const;

  std::size_t size() const;          // (block, cache) pairs; any thread
  std::size_t memory_bytes() const;  // at the last upkeep; any thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::policies
