// A word is the most usual: its hash is ten instructions, and a call thrice as many.
#define XXH_INLINE_ALL

#include "crdt/state_digest.h"

#include <xxhash.h>

#include <bit>

namespace dualmesh::crdt {

EntryHasher& EntryHasher::add(std::uint64_t value) {
  state_ = XXH3_64bits_withSeed(&value, sizeof(value), state_);
  return *this;
}

EntryHasher& EntryHasher::add(double value) {
  return add(std::bit_cast<std::uint64_t>(value == 0.0 ? 0.0 : value));
}

EntryHasher& EntryHasher::add(std::span<const char> bytes) {
  add(static_cast<std::uint64_t>(bytes.size()));
  state_ = XXH3_64bits_withSeed(bytes.data(), bytes.size(), state_);
  return *this;
}

Buckets differing_buckets(const BucketSums& a, const BucketSums& b) {
  Buckets differing;
  for (std::size_t bucket = 0; bucket < a.size(); ++bucket) {
    differing[bucket] = a[bucket] != b[bucket];
  }
  return differing;
}

}  // namespace dualmesh::crdt
