// Order-independent digest of a set of entries: equal states have equal digests, whatever the order
// in which they were reached.
//
// A digest is (count, wrapping sum of per-entry hashes). Adding or removing one entry is O(1), so a
// replicated type keeps its digest up to date with every change. `BucketSums` splits the same sum
// by key into 256 buckets, so that two replicas that differ can find the differing keys.
//
// Invariant: digest(A) == digest(B) exactly when A == B, up to 64-bit hash collisions.
// Threads: none; owned by its state.
// Source: the additive set hash of Clarke et al. (MSet-Add-Hash), with XXH3 in place of a
// cryptographic hash: it finds faults, it does not resist forgers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace dualmesh::crdt {

// Serialises the fields of one entry for hashing. Fields are length-prefixed, so ("a","bc") and
// ("ab","c") differ.
class EntryHasher {
 public:
  EntryHasher& add(std::uint64_t value);
  EntryHasher& add(double value);
  EntryHasher& add(std::span<const char> bytes);
  std::uint64_t finish() const;

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

}  // namespace dualmesh::crdt
