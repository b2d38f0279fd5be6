// WindowFeed: a single-writer feed of keys that expire in the order in which they were last touched.
//
// State: key -> version of its last touch, plus `floor()`: whatever was last touched at or below the
// floor is gone. Because expiry follows touch order, one number says everything that has expired:
// no tombstones, no clocks at the replicas.
//
// Invariant: a replica at (floor, version) holds exactly the keys the writer last touched in
// (floor, version].
// Merge: floor and version by maximum, per key the higher version.
// Cost: touch O(log n); expiry O(expired); memory one entry per live key.
// Threads: none; owned by one thread.
// Source: ours; the shape of a sliding window over a feed (crdt/feed.h).
#pragma once

#include <cstddef>
#include <vector>

#include "crdt/feed.h"

namespace dualmesh::crdt {

template <class Key>
class WindowFeed {
 public:
  struct Entry {
    Key key;
    Version version;
  };
  struct Delta {
    Version from_excluded;
    Version to;
    Version floor;
    std::vector<Entry> entries;  // in rising version order
  };

  // Writer. Touching an existing key moves it to the newest version.
  Version touch(const Key& key);
  // Expires every key last touched at or below `through`.
  void expire(Version through);

  // Anyone.
  bool contains(const Key& key) const;
  template <class Visit>  // visit(key, version), in rising version order
  void for_each(Visit&& visit) const;
  std::size_t size() const;
  Version version() const;
  Version floor() const;
  StateDigest digest() const;
  Delta delta_since(Version from, std::size_t max_entries) const;

  // Replica. `on_added(key)` for each key that was not held before, `on_expired(key)` for each that
  // left. Expiry alone (an empty delta with a higher floor) counts as changed.
  template <class OnAdded, class OnExpired>
  Applied apply(const Delta& delta, OnAdded&& on_added, OnExpired&& on_expired);
};

}  // namespace dualmesh::crdt
