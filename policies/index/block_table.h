// BlockTable: block key -> who holds it, in one cache line per look-up, for one writer and any
// readers.
//
// 4096 parts by the key's leading bits, each an array of buckets of one cache line: five keys,
// five holder words, and a state word. A part grows or shrinks by being written anew beside the
// old array, which readers may finish with; that moves 1/4096 of the table at once, so nothing
// stalls and nothing is held twice. An entry never moves within its array, so whoever looks for
// one that does not change finds it. A bucket counts the entries that found it full and went on
// to the next, in four classes by their key: where none of a class did, a search for it ends, and
// removals leave no marks.
//
// Invariant: a reader never takes one key's holders for another's: a bucket's version rises when
// a place is given up, and holders count only when the version before and after is the same. 64
// bytes for 2.5 to 3.6 entries; depth is kept for the writer, in the bits that the part implies.
// Threads: holders() and prefetch() from any thread, under a Reading; the rest is the writer's.
// Source: F14's overflow counts (Folly); sequence locks, per bucket; incremental growth by parts
// as in linear and extendible hashing.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory_resource>
#include <optional>
#include <span>
#include <vector>

#include "policies/index/packed_array.h"
#include "policies/index/reclaimer.h"
#include "policies/prompt_chain.h"

namespace dualmesh::policies {

// 28 bits, never 0: who holds a block. What they mean is the owner's.
using HolderWord = std::uint32_t;
inline constexpr int kHolderWordBits = 28;

class BlockTable {
  static constexpr std::size_t kPlaces = 5;
  struct alignas(64) Bucket {
    std::array<std::atomic<std::uint64_t>, kPlaces> keys{};     // 52 bits of key, 12 of depth
    std::array<std::atomic<std::uint32_t>, kPlaces> holders{};  // 4 bits of depth, 28 of holders
    std::atomic<std::uint32_t> state{0};  // version, and how many of each class have gone past
  };
  static_assert(sizeof(Bucket) == kPackedAlignment);

 public:
  BlockTable(Reclaimer& reclaimer, std::pmr::memory_resource& memory)
      : reclaimer_(reclaimer), memory_(memory), parts_(kParts), entries_(kParts) {}
  ~BlockTable();

  HolderWord holders(BlockKey key) const;  // 0: nobody
  // words[i] = holders(keys[i]) in two steps, with work on other keys between them, so that cache
  // misses overlap: begin, of keys that have been prefetched, and finish.
  void begin(std::span<const BlockKey> keys, std::span<HolderWord> words) const;
  void finish(std::span<const BlockKey> keys, std::span<HolderWord> words) const;
  void prefetch(BlockKey key) const {
    const std::uint64_t mixed = mix(key);
    const Array array = array_of(mixed >> kStoredBits);
    if (array.size > 0) __builtin_prefetch(&array.buckets[home(mixed, array.size)]);
  }
  // The same for a change, which often goes on to the next bucket.
  void prefetch_to_change(BlockKey key) const {
    const std::uint64_t mixed = mix(key);
    const Array array = array_of(mixed >> kStoredBits);
    if (array.size == 0) return;
    const Bucket* const bucket = &array.buckets[home(mixed, array.size)];
    __builtin_prefetch(bucket, 1);
    __builtin_prefetch(bucket + 1, 1);
  }

  // Where an entry is; good until the next insertion or erasure.
  struct Place {
    std::uint64_t mixed;  // the key
    Bucket* bucket;
    std::size_t index;

    std::uint16_t depth() const {
      return static_cast<std::uint16_t>((word() >> kHolderWordBits) << kDepthBits |
                                        (key() & ((1u << kDepthBits) - 1)));
    }
    HolderWord holders() const { return word() & ((1u << kHolderWordBits) - 1); }
    void set(HolderWord holders) {
      const std::uint32_t depth = word() >> kHolderWordBits << kHolderWordBits;
      bucket->holders[index].store(depth | holders, std::memory_order_release);
    }

   private:
    std::uint64_t key() const { return bucket->keys[index].load(std::memory_order_relaxed); }
    std::uint32_t word() const { return bucket->holders[index].load(std::memory_order_relaxed); }
  };
  std::optional<Place> find(BlockKey key);
  void insert(BlockKey key, std::uint16_t depth, HolderWord holders);  // not yet held
  void erase(const Place& place);
  // Visits the entries of `buckets` buckets, going on where the last sweep ended, in a circle;
  // visit(Place) says whether to erase it.
  template <class Visit>
  void sweep(std::size_t buckets, Visit&& visit);

  std::size_t memory_bytes() const { return kParts * 12 + buckets_ * sizeof(Bucket); }

 private:
  static constexpr int kPartBits = 12;
  static constexpr std::size_t kParts = std::size_t{1} << kPartBits;
  static constexpr int kStoredBits = 64 - kPartBits;
  static constexpr int kDepthBits = kPartBits;  // the room that the part leaves in the key's word
  struct Array {
    Bucket* buckets;
    std::size_t size;
  };

  // One to one, and good in all bits: the parts and buckets take the leading ones.
  static std::uint64_t mix(BlockKey key) {
    key *= 0x9e3779b97f4a7c15ULL;
    key ^= key >> 32;
    return key * 0xd6e8feb86659fd93ULL;
  }
  static std::size_t home(std::uint64_t mixed, std::size_t size) {
    return static_cast<std::size_t>((mixed << kPartBits >> 32) * size >> 32);
  }
  static std::uint64_t stored(std::uint64_t mixed) { return mixed << kPartBits; }
  static bool is(std::uint64_t key_word, std::uint64_t mixed) {
    return (key_word ^ stored(mixed)) >> kDepthBits == 0;
  }
  static constexpr HolderWord kGoOn = HolderWord{1} << kHolderWordBits;
  // In this bucket: the holders; 0: the key is not held; kGoOn: it may be in the next.
  static HolderWord look(const Bucket& bucket, std::uint64_t mixed);
  static Array unpacked(std::uint64_t word) {
    return {reinterpret_cast<Bucket*>(packed_address(word)), packed_size(word)};
  }
  Array array_of(std::size_t part) const { return unpacked(parts_[part].load()); }
  static std::size_t next(Array array, std::size_t at) { return at + 1 == array.size ? 0 : at + 1; }
  static void place(Array array, std::uint64_t mixed, std::uint64_t key_word, std::uint32_t word);
  static void vacate(Array array, const Place& place);
  void resize(std::size_t part, std::size_t entries);
  void free(Array array);

  Reclaimer& reclaimer_;
  std::pmr::memory_resource& memory_;
  std::vector<std::atomic<std::uint64_t>> parts_;
  std::vector<std::uint32_t> entries_;  // in each part
  std::size_t buckets_ = 0;
  std::size_t sweep_part_ = 0, sweep_bucket_ = 0;
};

template <class Visit>
void BlockTable::sweep(std::size_t buckets, Visit&& visit) {
  for (; buckets > 0; --buckets) {
    const Array array = array_of(sweep_part_);
    if (sweep_bucket_ >= array.size) {
      sweep_bucket_ = 0;
      sweep_part_ = (sweep_part_ + 1) % kParts;
      continue;
    }
    Bucket& bucket = array.buckets[sweep_bucket_++];
    for (std::size_t index = 0; index < kPlaces; ++index) {
      if (bucket.holders[index].load(std::memory_order_relaxed) == 0) continue;
      const std::uint64_t key = bucket.keys[index].load(std::memory_order_relaxed);
      const Place place{std::uint64_t{sweep_part_} << kStoredBits | key >> kDepthBits, &bucket,
                        index};
      if (!visit(place)) continue;
      vacate(array, place);
      --entries_[sweep_part_];
    }
  }
}

}  // namespace dualmesh::policies
