// CausalContext: exactly which events a replica has seen, holes included.
//
// State: a version vector for what was seen without a gap, and a cloud of single dots beyond the
// gap. As soon as a gap closes, the dots move from the cloud into the vector (compaction).
//
// Invariant: the cloud holds no dot that the vector covers or that would extend it at once; so one
// set of events has one representation, and equality is equality of events. Merge: union. Because
// a context can say "2 and 4 but not 3", deltas may be joined in any order: what has not been seen
// is never taken for something removed. A bare vector cannot say that, and types built on one must
// enforce the causal delta-merging condition (apply deltas without gaps) or lose additions. Cost:
// contains O(log n); join O(n + m); memory 24 bytes per origin and 24 per dot beyond a gap: bounded
// by what was delivered out of order, empty once all has arrived. Threads: none; values. Source:
// Almeida, Shoker, Baquero 2018 (arXiv 1603.01529), section 7.2; the danger of the bare vector:
// akka issue 22188, "holes that work as deletes".
#pragma once

#include <boost/assert.hpp>
#include <boost/container/flat_set.hpp>

#include "crdt/version_vector.h"

namespace dualmesh::crdt {

class CausalContext {
 public:
  using Cloud = boost::container::flat_set<Dot>;

  bool contains(const Dot& dot) const { return vector_.contains(dot) || cloud_.contains(dot); }

  // The dot for the next change of `self`, which must hold all its own earlier ones: a life begins
  // with a new epoch and nobody else writes in it. Not yet inserted.
  Dot next(const Origin& self) const {
    BOOST_ASSERT(beyond_gap(self) == cloud_.end() || beyond_gap(self)->origin != self);
    return Dot{self, vector_.of(self).next()};
  }

  // Both return whether anything was new.
  bool insert(const Dot& dot) {
    if (dot.version == Version{} || contains(dot)) return false;
    cloud_.insert(dot);
    compact();
    return true;
  }
  bool join(const CausalContext& other) {
    bool grew = vector_.join(other.vector_);
    for (const Dot& dot : other.cloud_) {
      if (contains(dot)) continue;
      cloud_.insert(dot);
      grew = true;
    }
    if (grew) compact();
    return grew;
  }

  const VersionVector& vector() const { return vector_; }
  const Cloud& cloud() const { return cloud_; }
  bool operator==(const CausalContext&) const = default;

 private:
  Cloud::const_iterator beyond_gap(const Origin& origin) const {
    return cloud_.lower_bound(Dot{origin, Version{}});
  }
  // The cloud is in order of origin and version, so one pass closes every gap that can be closed.
  void compact() {
    Cloud::sequence_type kept;
    for (const Dot& dot : cloud_) {
      const Version reached = vector_.of(dot.origin);
      if (dot.version == reached.next()) {
        vector_.raise(dot.origin, dot.version);
      } else if (dot.version > reached) {
        kept.push_back(dot);
      }
    }
    cloud_.adopt_sequence(boost::container::ordered_unique_range, std::move(kept));
  }

  VersionVector vector_;
  Cloud cloud_;
};

inline void hash_field(EntryHasher& hasher, const CausalContext& context) {
  hasher.add(context.vector().entries().size());
  for (const auto& [origin, version] : context.vector().entries()) {
    hash_field(hasher, Dot{origin, version});
  }
  hasher.add(context.cloud().size());
  for (const Dot& dot : context.cloud()) hash_field(hasher, dot);
}

}  // namespace dualmesh::crdt
