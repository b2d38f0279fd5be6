// Table: a multi-writer map of join-semilattice values, versioned by the replica that holds it.
//
// State: key -> (value, local version of its last growth). Any replica may join a value in;
// whatever grows gets the next *local* version, so a peer that has acknowledged our version v needs
// only the entries after v. Versions of two replicas are not comparable; digests are.
//
// Invariant: values only grow (join(a, b) >= a); merging in any order, with repeats, reaches the
// same state. Merge: per key the lattice join. A received delta reports what grew, so that it is
// passed on only if it was news: gossip ends by itself, and nodes that cannot reach each other hear
// through a third. Each entry remembers through whom it grew last, so that nothing is sent back and
// what others say themselves need not be said twice; what grew together from two halves is this
// replica's own. Cost: join O(log n); delta O(log n) and a step
// per growth, at most 3 n; memory one entry per key. Entries are never dropped by a merge;
// `forget_if` is for state that every replica drops by the same rule (old time buckets, the oldest
// of too many). Until the last one has dropped an entry it may come back from there. Threads: none;
// owned by one thread. Source: delta-state CRDTs, Almeida, Shoker, Baquero 2018 (arXiv 1603.01529),
// delta intervals.
//
// Lattice is a regular type with `bool join(const Lattice&)`, true when it grew, and
// `hash_entry(EntryHasher&, key, lattice)` by argument-dependent lookup (crdt/state_digest.h). Key
// is ordered by <.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/map.hpp>
#include <cstddef>
#include <vector>

#include "crdt/identity.h"
#include "crdt/state_digest.h"
#include "crdt/version_log.h"

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
    std::vector<Entry> entries;  // in the order of their last growth at the sender
  };

  // True when it grew; a key that was not held counts as growth whatever the value.
  // `source`: the replica that said it; NodeId{}: this one.
  bool join(const Key& key, const Lattice& value, NodeId source = {}) {
    return grow(key, value, source) != nullptr;
  }
  // Not a merge: puts `value` in place of what is held, smaller or not. Only for what no other
  // replica can hold, or the next merge brings it back.
  void replace(const Key& key, const Lattice& value);
  const Lattice* find(const Key& key) const;  // good until the key is forgotten
  template <class Visit>                      // visit(key, lattice), in key order
  void for_each(Visit&& visit) const;
  template <class Visit>  // as above from the first key not below `first`, while visit says true
  void for_each_from(const Key& first, Visit&& visit) const;
  std::size_t size() const { return held_.size(); }
  Version version() const { return version_; }            // local
  StateDigest digest() const { return digest_.total(); }  // of key and value
  const BucketSums& bucket_sums() const { return digest_.sums(); }
  template <class Visit>  // visit(key, lattice), in key order, the entries of some buckets
  void for_each_in(const Buckets& buckets, Visit&& visit) const;
  // At most `max_entries` (> 0) entries that grew after `from`.
  Delta delta_since(Version from, std::size_t max_entries) const {
    return delta_since(from, max_entries, [](NodeId) { return true; });
  }
  template <class Pick>  // pick(source): the others are passed over
  Delta delta_since(Version from, std::size_t max_entries, Pick&& pick) const;
  // Joins every entry; calls on_grown(key, value) with the joined value for each that grew.
  template <class OnGrown>
  void apply(const Delta& delta, OnGrown&& on_grown);
  template <class Predicate>  // predicate(key, lattice)
  std::size_t forget_if(Predicate&& predicate);

 private:
  struct Held {
    Lattice value;
    Version version;
    std::uint64_t hash = 0;  // its share of the digest: most joins bring nothing new
    NodeId source;           // of its last growth
  };
  using Record = typename VersionLog<Key>::Record;

  const Held* current(const Record& record) const;                           // nullptr: outdated
  const Lattice* grow(const Key& key, const Lattice& value, NodeId source);  // nullptr: nothing new
  void changed(const Key& key, Held& held, NodeId source);  // its value was, or has just come
  auto is_current() const {
    return [this](const Record& record) { return current(record) != nullptr; };
  }

  boost::container::map<Key, Held> held_;
  VersionLog<Key> log_;
  Version version_;
  BucketedDigest digest_;
};

template <class Key, class Lattice>
const Lattice* Table<Key, Lattice>::find(const Key& key) const {
  auto slot = held_.find(key);
  return slot == held_.end() ? nullptr : &slot->second.value;
}

template <class Key, class Lattice>
template <class Visit>
void Table<Key, Lattice>::for_each(Visit&& visit) const {
  for (const auto& [key, held] : held_) visit(key, held.value);
}

template <class Key, class Lattice>
template <class Visit>
void Table<Key, Lattice>::for_each_from(const Key& first, Visit&& visit) const {
  for (auto slot = held_.lower_bound(first); slot != held_.end(); ++slot) {
    if (!visit(slot->first, slot->second.value)) return;
  }
}

template <class Key, class Lattice>
template <class Visit>
void Table<Key, Lattice>::for_each_in(const Buckets& buckets, Visit&& visit) const {
  for (const auto& [key, held] : held_) {
    if (buckets[bucket_of(held.hash)]) visit(key, held.value);
  }
}

template <class Key, class Lattice>
template <class Pick>
auto Table<Key, Lattice>::delta_since(Version from, std::size_t max_entries, Pick&& pick) const
    -> Delta {
  BOOST_ASSERT(max_entries > 0);
  from = std::min(from, version_);
  Delta delta{from, version_, {}};
  for (auto record = log_.after(from); record != log_.end(); ++record) {
    const Held* held = current(*record);
    if (held == nullptr || !pick(held->source)) continue;
    if (delta.entries.size() >= max_entries) {
      delta.to = Version{record->version.value - 1};  // before it, all is sent or outdated
      break;
    }
    delta.entries.push_back(Entry{record->key, held->value});
  }
  return delta;
}

template <class Key, class Lattice>
template <class OnGrown>
void Table<Key, Lattice>::apply(const Delta& delta, OnGrown&& on_grown) {
  for (const Entry& entry : delta.entries) {
    if (const Lattice* grown = grow(entry.key, entry.value, NodeId{})) on_grown(entry.key, *grown);
  }
}

template <class Key, class Lattice>
template <class Predicate>
std::size_t Table<Key, Lattice>::forget_if(Predicate&& predicate) {
  const std::size_t before = held_.size();
  for (auto slot = held_.begin(); slot != held_.end();) {
    if (predicate(slot->first, static_cast<const Lattice&>(slot->second.value))) {
      digest_.remove(slot->second.hash);
      slot = held_.erase(slot);
    } else {
      ++slot;
    }
  }
  log_.trim_all(held_.size(), is_current());
  return before - held_.size();
}

template <class Key, class Lattice>
auto Table<Key, Lattice>::current(const Record& record) const -> const Held* {
  auto slot = held_.find(record.key);
  return slot != held_.end() && slot->second.version == record.version ? &slot->second : nullptr;
}

template <class Key, class Lattice>
const Lattice* Table<Key, Lattice>::grow(const Key& key, const Lattice& value, NodeId source) {
  auto [slot, added] = held_.try_emplace(key, Held{value, Version{}});
  Held& held = slot->second;
  if (!added) {
    if (!held.value.join(value)) return nullptr;
    digest_.remove(held.hash);
  }
  // What came together here is nobody else's: whoever sent one half may lack the other.
  changed(key, held, held.value == value ? source : NodeId{});
  return &held.value;
}

template <class Key, class Lattice>
void Table<Key, Lattice>::replace(const Key& key, const Lattice& value) {
  auto [slot, added] = held_.try_emplace(key, Held{value, Version{}});
  if (!added) {
    slot->second.value = value;
    digest_.remove(slot->second.hash);
  }
  changed(key, slot->second, NodeId{});
}

template <class Key, class Lattice>
void Table<Key, Lattice>::changed(const Key& key, Held& held, NodeId source) {
  EntryHasher hasher;
  hash_entry(hasher, key, held.value);
  held.hash = hasher.finish();
  digest_.add(held.hash);
  version_ = version_.next();
  held.version = version_;
  held.source = source;
  log_.append(version_, key);
  log_.trim(held_.size(), is_current());
}

}  // namespace dualmesh::crdt
