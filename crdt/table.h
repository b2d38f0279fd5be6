// Table: a multi-writer map of join-semilattice values, versioned by the replica that holds it.
//
// State: key -> (value, local version of its last growth). Any replica may join a value in; whatever
// grows gets the next *local* version, so a peer that has acknowledged our version v needs only the
// entries after v. Versions of two replicas are not comparable; digests are.
//
// Invariant: values only grow (join(a, b) >= a); merging in any order, with repeats, reaches the same
// state.
// Merge: per key the lattice join. A received delta reports what grew, so that it is passed on only
// if it was news: gossip ends by itself, and nodes that cannot reach each other hear through a third.
// Cost: join O(log n); delta O(changed keys); memory one entry per key. Entries are never dropped by
// a merge; `forget_if` is for state that every replica drops by the same rule (old time buckets,
// members long dead).
// Threads: none; owned by one thread.
// Source: delta-state CRDTs, Almeida, Shoker, Baquero 2018 (arXiv 1603.01529), delta intervals.
//
// Lattice is a regular type with `bool join(const Lattice&)`, true when it grew, and
// `hash_entry(EntryHasher&, key, lattice)` by argument-dependent lookup.
#pragma once

#include <cstddef>
#include <vector>

#include "crdt/feed.h"

namespace dualmesh::crdt {

template <class Key, class Lattice>
class Table {
 public:
  struct Entry {
    Key key;
    Lattice value;
  };
  struct Delta {
    Version from_excluded;  // in the sender's versions
    Version to;
    std::vector<Entry> entries;
  };

  bool join(const Key& key, const Lattice& value);  // true when it grew
  const Lattice* find(const Key& key) const;
  template <class Visit>  // visit(key, lattice), in key order
  void for_each(Visit&& visit) const;
  std::size_t size() const;
  Version version() const;  // local
  StateDigest digest() const;
  Delta delta_since(Version from, std::size_t max_entries) const;
  // Joins every entry; calls on_grown(key, value) for each that grew.
  template <class OnGrown>
  void apply(const Delta& delta, OnGrown&& on_grown);
  template <class Predicate>  // predicate(key, lattice)
  std::size_t forget_if(Predicate&& predicate);
};

}  // namespace dualmesh::crdt
