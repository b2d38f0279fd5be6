// GCounter: a number that many writers raise and nobody lowers.
//
// State: origin -> what that origin has added in all; the value is the sum. Only an origin raises
// its own entry.
//
// Invariant: entries only rise, none is 0. Merge: per origin the maximum, so repeats and reordering
// are harmless and a delta is nothing but the changed entry. Cost: add O(log n), join O(n + m),
// value O(n); 24 bytes per origin that ever added, for ever: do not put it where keys come and go
// (crdt/or_map.h has a counter that may). Threads: none; values. Source: Shapiro et al. 2011, "A
// comprehensive study of convergent and commutative replicated data types", 3.1.1; delta mutator
// after Almeida et al. 2018.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/flat_map.hpp>
#include <cstdint>
#include <limits>

#include "crdt/identity.h"
#include "crdt/version_vector.h"

namespace dualmesh::crdt {

class GCounter {
 public:
  using Entries = boost::container::flat_map<Origin, std::uint64_t>;

  // Adds on behalf of `self`; returns the delta to send. A sum beyond 64 bits stays at the
  // greatest.
  GCounter add(const Origin& self, std::uint64_t amount = 1) {
    GCounter delta;
    if (amount == 0) return delta;
    std::uint64_t& mine = entries_[self];
    mine = saturated(mine, amount);
    delta.entries_[self] = mine;
    return delta;
  }
  // True when it grew.
  bool join(const GCounter& other) {
    bool grew = false;
    for (const auto& [origin, amount] : other.entries_) {
      std::uint64_t& mine = entries_[origin];
      grew |= amount > mine;
      mine = std::max(mine, amount);
    }
    return grew;
  }
  std::uint64_t value() const {
    std::uint64_t sum = 0;
    for (const auto& [origin, amount] : entries_) sum = saturated(sum, amount);
    return sum;
  }

  const Entries& entries() const { return entries_; }
  bool operator==(const GCounter&) const = default;

 private:
  static std::uint64_t saturated(std::uint64_t a, std::uint64_t b) {
    return a > std::numeric_limits<std::uint64_t>::max() - b
               ? std::numeric_limits<std::uint64_t>::max()
               : a + b;
  }

  Entries entries_;
};

inline void hash_field(EntryHasher& hasher, const GCounter& counter) {
  hasher.add(counter.entries().size());
  for (const auto& [origin, amount] : counter.entries()) {
    hash_field(hasher, origin);
    hasher.add(amount);
  }
}

}  // namespace dualmesh::crdt
