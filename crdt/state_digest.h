// Order-independent digest of a set of entries: equal states have equal digests, whatever the order
// in which they were reached.
//
// A digest is (count, wrapping sum of per-entry hashes). Adding or removing one entry is O(1), so a
// replicated type keeps its digest up to date with every change. Beside it stand 256 sums, one for
// each leading byte of an entry's hash: two holders whose digests differ compare those (2 KB) and
// list only the entries of the buckets that differ. An entry that both hold alike lies in the same
// bucket on both sides; one that they hold differently makes the buckets of both forms differ.
//
// How an entry is hashed: the replicated types call `hash_entry(hasher, key, value)`. The one below
// hashes key and value with `hash_field`, which knows numbers, enums, strings, pairs, Number<Tag>
// and, from their own headers, stamps and registers. A type of your own needs either
//   void hash_field(EntryHasher&, const Mine&)                  // usable as key, value, pair half,
//   or void hash_entry(EntryHasher&, KeyType, const Mine&)         // for this key only
// in its own namespace or in this one: both are found by argument-dependent lookup.
//
// Invariant: digest(A) == digest(B) exactly when A == B, up to 64-bit hash collisions.
// Merge: none; it follows its state. Cost: a hash of the entry per change; 2 KB per state.
// Threads: none; owned by its state.
// Source: the additive set hash of Clarke et al. (MSet-Add-Hash), with XXH3 in place of a
// cryptographic hash: it finds faults, it does not resist forgers.
#pragma once

#include <array>
#include <bitset>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include "crdt/identity.h"

namespace dualmesh::crdt {

// A word's hash; splitmix64's.
inline std::uint64_t mixed(std::uint64_t word) {
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ word >> 27) * 0x94d049bb133111ebULL;
  return word ^ word >> 31;
}

// Hashes the fields of one entry one after another, each under the hash of those before it. Bytes
// count with their length, so ("a","bc") and ("ab","c") differ.
class EntryHasher {
 public:
  EntryHasher& add(std::uint64_t value);
  EntryHasher& add(double value);  // 0.0 and -0.0 are equal and hash equally
  EntryHasher& add(std::span<const char> bytes);
  template <class T>
  requires(std::integral<T> || std::is_enum_v<T>) EntryHasher& add(T value) {
    return add(static_cast<std::uint64_t>(value));
  }
  std::uint64_t finish() const { return state_; }

 private:
  std::uint64_t state_ = 0x9e3779b97f4a7c15ULL;
};

struct StateDigest {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;

  void add(std::uint64_t entry_hash) { ++count, sum += entry_hash; }
  void remove(std::uint64_t entry_hash) { --count, sum -= entry_hash; }
  bool operator==(const StateDigest&) const = default;
};

using BucketSums = std::array<std::uint64_t, 256>;
using Buckets = std::bitset<256>;

inline std::size_t bucket_of(std::uint64_t entry_hash) { return entry_hash >> 56; }

// Where two states differ: all entries that one side has and the other has not lie in these.
Buckets differing_buckets(const BucketSums& a, const BucketSums& b);

// A digest and its bucket sums, kept together.
class BucketedDigest {
 public:
  void add(std::uint64_t entry_hash) {
    total_.add(entry_hash);
    sums_[bucket_of(entry_hash)] += entry_hash;
  }
  void remove(std::uint64_t entry_hash) {
    total_.remove(entry_hash);
    sums_[bucket_of(entry_hash)] -= entry_hash;
  }
  const StateDigest& total() const { return total_; }
  const BucketSums& sums() const { return sums_; }

 private:
  StateDigest total_;
  BucketSums sums_{};
};

template <class T>
requires std::is_arithmetic_v<T> || std::is_enum_v<T>
void hash_field(EntryHasher& hasher, T value) {
  if constexpr (std::floating_point<T>) {
    hasher.add(static_cast<double>(value));
  } else {
    hasher.add(value);
  }
}

inline void hash_field(EntryHasher& hasher, std::string_view text) {
  hasher.add(std::span<const char>(text));
}

template <class Tag>
void hash_field(EntryHasher& hasher, Number<Tag> number) {
  hasher.add(number.value);
}

template <class First, class Second>
void hash_field(EntryHasher& hasher, const std::pair<First, Second>& pair) {
  hash_field(hasher, pair.first);
  hash_field(hasher, pair.second);
}

template <class Key, class Value>
void hash_entry(EntryHasher& hasher, const Key& key, const Value& value) {
  hash_field(hasher, key);
  hash_field(hasher, value);
}

}  // namespace dualmesh::crdt
