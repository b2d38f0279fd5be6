// Feed: a versioned map written by exactly one origin and replicated everywhere.
//
// State: key -> (version, value or deleted), plus `version()` (the highest issued) and `collected()`
// (tombstones at or below it are forgotten). The writer calls put/erase; a replica calls apply with
// deltas in version order. A delta covers (from_excluded, to] and may be cut only at its end, so a
// replica that has applied through v knows every change up to v.
//
// Invariant: a replica at version v equals the writer's map as it was at v.
// Merge: per key the higher version; a delta whose range does not join on is refused and changes
// nothing; a snapshot (from_excluded = 0) replaces everything.
// Cost: put, erase O(log n); delta O(changed keys); memory one entry per live key and per tombstone
// not yet collected, never per change: a slow peer costs state, not time (conflation).
// Threads: none; owned by one thread.
// Source: chitchat (Quickwit) for versioned deletes with a collection horizon; mosh's state
// synchronisation for deltas against an acknowledged version.
//
// Key and Value are regular types; Key is hashable by boost::hash; `hash_entry(EntryHasher&, key,
// value)` is found by argument-dependent lookup.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "crdt/identity.h"
#include "crdt/state_digest.h"

namespace dualmesh::crdt {

enum class Applied {
  changed,        // state advanced
  duplicate,      // everything in it was already known; state untouched
  gap,            // from_excluded is beyond our version: ask again from ours; state untouched
  below_horizon,  // we are behind the writer's collection horizon: a snapshot is needed; untouched
  malformed,      // versions out of order or out of range; state untouched
};

template <class Key, class Value>
class Feed {
 public:
  struct Entry {
    Key key;
    Version version;
    std::optional<Value> value;  // empty: deleted at `version`
  };
  struct Delta {
    Version from_excluded;
    Version to;
    Version collected;
    std::vector<Entry> entries;  // in rising version order

    bool is_snapshot() const { return from_excluded == Version{}; }
  };

  // Writer. Both return whether anything changed; an equal value issues no version.
  bool put(const Key& key, const Value& value);
  bool erase(const Key& key);
  // Forgets tombstones up to `through`, the lowest version that every live replica has applied.
  void collect(Version through);

  // Anyone.
  const Value* find(const Key& key) const;
  template <class Visit>  // visit(key, value), live entries in unspecified order
  void for_each(Visit&& visit) const;
  std::size_t size() const;
  Version version() const;
  Version collected() const;
  StateDigest digest() const;  // of live entries: key, version and value
  // At most `max_entries` entries after `from`; a snapshot when `from` is below collected().
  Delta delta_since(Version from, std::size_t max_entries) const;

  // Replica.
  Applied apply(const Delta& delta);
};

}  // namespace dualmesh::crdt
