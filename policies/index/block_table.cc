#include "policies/index/block_table.h"

#include <bit>
#include <boost/assert.hpp>
#include <memory>

namespace dualmesh::policies {

namespace {

// A part is written anew when it is fuller than 72 % or emptier than 40 %, then 54 % full. Fuller
// ones, after additions and removals over a long time, would have many entries far from home. Sizes
// are rounded, so that one part's old array fits another's new one.
bool too_full(std::size_t entries, std::size_t buckets) { return entries * 100 > buckets * 360; }
bool too_empty(std::size_t entries, std::size_t buckets) {
  return buckets > 4 && entries * 100 < buckets * 200;
}
std::size_t buckets_for(std::size_t entries) {
  const std::size_t buckets = entries * 100 / 270 + 1;
  const std::size_t step = std::bit_floor(buckets) / 16 + 1;
  return packable((buckets + step - 1) / step * step);
}

// A bucket's state: 20 bits of version, and for each of four classes of keys 3 bits of how many
// have gone past.
constexpr int kCountBits = 3, kVersionShift = 4 * kCountBits;
constexpr std::uint32_t kMostGonePast = (1u << kCountBits) - 1;  // there it stays: who knows
constexpr int class_shift(std::uint64_t mixed) {  // of bits that no home is chosen by
  return static_cast<int>(mixed & 3) * kCountBits;
}
std::uint32_t gone_past(std::uint32_t state, std::uint64_t mixed) {
  return state >> class_shift(mixed) & kMostGonePast;
}
std::uint32_t version(std::uint32_t state) { return state >> kVersionShift; }

}  // namespace

BlockTable::~BlockTable() {
  for (const auto& part : parts_) free(unpacked(part.load()));
}

void BlockTable::free(Array array) {
  buckets_ -= array.size;
  if (array.size == 0) return;
  memory_.deallocate(array.buckets, array.size * sizeof(Bucket), alignof(Bucket));
}

HolderWord BlockTable::look(const Bucket& bucket, std::uint64_t mixed) {
  while (true) {
    const std::uint32_t state = bucket.state.load(std::memory_order_acquire);
    unsigned matches = 0;  // without branches: where the key is cannot be foretold
    for (std::size_t index = 0; index < kPlaces; ++index) {
      matches |= unsigned{is(bucket.keys[index].load(std::memory_order_acquire), mixed)} << index;
    }
    std::uint32_t word = 0;
    for (; matches != 0 && word == 0; matches &= matches - 1) {
      word = bucket.holders[std::countr_zero(matches)].load(std::memory_order_acquire);
    }
    if (word == 0) return gone_past(state, mixed) == 0 ? 0 : kGoOn;
    // Was a place of this bucket given up meanwhile? It may have been this one.
    const std::uint32_t after = bucket.state.load(std::memory_order_relaxed);
    if (version(after) == version(state)) return word & ((1u << kHolderWordBits) - 1);
  }
}

HolderWord BlockTable::holders(BlockKey key) const {
  const std::uint64_t mixed = mix(key);
  const Array array = array_of(mixed >> kStoredBits);
  if (array.size == 0) return 0;
  std::size_t at = home(mixed, array.size);
  for (std::size_t searched = 0; searched < array.size; ++searched, at = next(array, at)) {
    const HolderWord found = look(array.buckets[at], mixed);
    if (found != kGoOn) return found;
  }
  return 0;
}

void BlockTable::begin(std::span<const BlockKey> keys, std::span<HolderWord> words) const {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::uint64_t mixed = mix(keys[i]);
    const Array array = array_of(mixed >> kStoredBits);
    if (array.size == 0) {
      words[i] = 0;
      continue;
    }
    const std::size_t at = home(mixed, array.size);
    words[i] = look(array.buckets[at], mixed);
    if (words[i] == kGoOn) __builtin_prefetch(&array.buckets[next(array, at)]);
  }
}

void BlockTable::finish(std::span<const BlockKey> keys, std::span<HolderWord> words) const {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (words[i] == kGoOn) words[i] = holders(keys[i]);
  }
}

std::optional<BlockTable::Place> BlockTable::find(BlockKey key) {
  const std::uint64_t mixed = mix(key);
  const Array array = array_of(mixed >> kStoredBits);
  if (array.size == 0) return std::nullopt;
  std::size_t at = home(mixed, array.size);
  for (std::size_t searched = 0; searched < array.size; ++searched) {
    Bucket& bucket = array.buckets[at];
    for (std::size_t index = 0; index < kPlaces; ++index) {
      if (is(bucket.keys[index].load(std::memory_order_relaxed), mixed) &&
          bucket.holders[index].load(std::memory_order_relaxed) != 0) {
        return Place{mixed, &bucket, index};
      }
    }
    if (gone_past(bucket.state.load(std::memory_order_relaxed), mixed) == 0) return std::nullopt;
    at = next(array, at);
  }
  return std::nullopt;
}

void BlockTable::place(Array array, std::uint64_t mixed, std::uint64_t key_word,
                       std::uint32_t word) {
  std::size_t at = home(mixed, array.size);
  while (true) {
    Bucket& bucket = array.buckets[at];
    for (std::size_t index = 0; index < kPlaces; ++index) {
      if (bucket.holders[index].load(std::memory_order_relaxed) != 0) continue;
      bucket.keys[index].store(key_word, std::memory_order_release);
      bucket.holders[index].store(word, std::memory_order_release);
      return;
    }
    const std::uint32_t state = bucket.state.load(std::memory_order_relaxed);
    if (gone_past(state, mixed) < kMostGonePast) {
      bucket.state.store(state + (1u << class_shift(mixed)), std::memory_order_release);
    }
    at = next(array, at);
  }
}

void BlockTable::vacate(Array array, const Place& place) {
  place.bucket->holders[place.index].store(0, std::memory_order_release);
  place.bucket->keys[place.index].store(0, std::memory_order_release);
  place.bucket->state.store(
      place.bucket->state.load(std::memory_order_relaxed) + (1u << kVersionShift),
      std::memory_order_release);
  for (std::size_t at = home(place.mixed, array.size); &array.buckets[at] != place.bucket;
       at = next(array, at)) {
    const std::uint32_t state = array.buckets[at].state.load(std::memory_order_relaxed);
    if (gone_past(state, place.mixed) == kMostGonePast) continue;
    array.buckets[at].state.store(state - (1u << class_shift(place.mixed)),
                                  std::memory_order_release);
  }
}

void BlockTable::insert(BlockKey key, std::uint16_t depth, HolderWord holders) {
  BOOST_ASSERT(holders != 0 && holders >> kHolderWordBits == 0);
  const std::uint64_t mixed = mix(key);
  const std::size_t part = mixed >> kStoredBits;
  const std::size_t entries = ++entries_[part];
  if (too_full(entries, array_of(part).size)) resize(part, entries);
  constexpr std::uint64_t kLowDepth = (1u << kDepthBits) - 1;
  place(array_of(part), mixed, stored(mixed) | (depth & kLowDepth),
        static_cast<std::uint32_t>(depth) >> kDepthBits << kHolderWordBits | holders);
}

void BlockTable::erase(const Place& place) {
  const std::size_t part = place.mixed >> kStoredBits;
  const Array array = array_of(part);
  vacate(array, place);
  const std::size_t entries = --entries_[part];
  if (too_empty(entries, array.size)) resize(part, entries);
}

void BlockTable::resize(std::size_t part, std::size_t entries) {
  const std::uint64_t before = parts_[part].load();
  const Array old = unpacked(before);
  Array array{nullptr, buckets_for(entries)};
  void* const memory = memory_.allocate(array.size * sizeof(Bucket), alignof(Bucket));
  array.buckets = static_cast<Bucket*>(memory);
  std::uninitialized_value_construct_n(array.buckets, array.size);
  buckets_ += array.size;
  for (std::size_t at = 0; at < old.size; ++at) {
    for (std::size_t index = 0; index < kPlaces; ++index) {
      const std::uint32_t word = old.buckets[at].holders[index].load(std::memory_order_relaxed);
      if (word == 0) continue;
      const std::uint64_t key = old.buckets[at].keys[index].load(std::memory_order_relaxed);
      place(array, std::uint64_t{part} << kStoredBits | key >> kDepthBits, key, word);
    }
  }
  parts_[part].store(packed(reinterpret_cast<std::uintptr_t>(array.buckets), array.size));
  if (old.size == 0) return;
  reclaimer_.retire(
      [](void* self, std::uint64_t what) { static_cast<BlockTable*>(self)->free(unpacked(what)); },
      this, before);
}

}  // namespace dualmesh::policies
