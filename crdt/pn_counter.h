// PnCounter: a number that many writers raise and lower.
//
// State: two grow-only counters, what was added and what was taken away; the value is their
// difference. A number cannot be kept by maximum once it may fall; its two halves can.
//
// Invariant, merge, cost: those of crdt/g_counter.h, twice. The value may pass below zero although
// no writer saw that: a bound needs rights handed from writer to writer, which this type has not.
// What a process added before it died stays added; for "how many are in flight" let each node
// state its own number in a feed (crdt/feed.h), which dies with it. Threads: none; values. Source:
// Shapiro et al. 2011, 3.1.2.
#pragma once

#include "crdt/g_counter.h"

namespace dualmesh::crdt {

class PnCounter {
 public:
  // Both act on behalf of `self` and return the delta to send.
  PnCounter add(const Origin& self, std::uint64_t amount = 1) {
    PnCounter delta;
    delta.added_ = added_.add(self, amount);
    return delta;
  }
  PnCounter subtract(const Origin& self, std::uint64_t amount = 1) {
    PnCounter delta;
    delta.taken_ = taken_.add(self, amount);
    return delta;
  }
  // True when it grew: either half did, whatever that means for the value.
  bool join(const PnCounter& other) {
    const bool more_added = added_.join(other.added_);
    return taken_.join(other.taken_) || more_added;
  }
  std::int64_t value() const { return static_cast<std::int64_t>(added_.value() - taken_.value()); }

  const GCounter& added() const { return added_; }
  const GCounter& taken() const { return taken_; }
  bool operator==(const PnCounter&) const = default;

 private:
  GCounter added_;
  GCounter taken_;
};

inline void hash_field(EntryHasher& hasher, const PnCounter& counter) {
  hash_field(hasher, counter.added());
  hash_field(hasher, counter.taken());
}

}  // namespace dualmesh::crdt
