// VersionVector: how far each writer has been heard, the classical summary of causal history.
//
// State: origin -> highest version, absent = nothing yet. A writer is an Origin, a node in one of
// its lives, so that a restart cannot issue a number again.
//
// Invariant: no entry holds version 0, so equal histories are equal vectors. Entries only rise.
// Merge: per origin the maximum. Order: a <= b when no entry of a is above b's; neither way round
// means concurrent. Cost: of() O(log n), join and compare O(n + m); 24 bytes per origin that ever
// wrote. Threads: none; values. Source: Parker et al. 1983, "Detection of mutual inconsistency in
// distributed systems".
#pragma once

#include <algorithm>
#include <boost/container/flat_map.hpp>
#include <cstdint>

#include "crdt/identity.h"
#include "crdt/state_digest.h"

namespace dualmesh::crdt {

// One event: the version-th change made by origin.
struct Dot {
  Origin origin;
  Version version;

  auto operator<=>(const Dot&) const = default;
};

inline void hash_field(EntryHasher& hasher, const Origin& origin) {
  hasher.add(origin.node.value).add(origin.epoch.value);
}

inline void hash_field(EntryHasher& hasher, const Dot& dot) {
  hash_field(hasher, dot.origin);
  hasher.add(dot.version.value);
}

enum class Causality : std::uint8_t { equal, before, after, concurrent };

class VersionVector {
 public:
  using Entries = boost::container::flat_map<Origin, Version>;

  Version of(const Origin& origin) const {
    const auto entry = entries_.find(origin);
    return entry == entries_.end() ? Version{} : entry->second;
  }
  bool contains(const Dot& dot) const { return dot.version <= of(dot.origin); }

  // Both return whether anything rose.
  bool raise(const Origin& origin, Version version) {
    if (version <= of(origin)) return false;
    entries_[origin] = version;
    return true;
  }
  bool join(const VersionVector& other) {
    bool rose = false;
    for (const auto& [origin, version] : other.entries_) rose |= raise(origin, version);
    return rose;
  }

  // How this one stands to `other`: before means that `other` knows all this one does, and more.
  Causality compare(const VersionVector& other) const {
    const bool mine_within = within(other);
    const bool theirs_within = other.within(*this);
    if (mine_within && theirs_within) return Causality::equal;
    if (mine_within) return Causality::before;
    return theirs_within ? Causality::after : Causality::concurrent;
  }

  const Entries& entries() const { return entries_; }  // in order of origin
  bool operator==(const VersionVector&) const = default;

 private:
  bool within(const VersionVector& other) const {
    return std::all_of(entries_.begin(), entries_.end(),
                       [&](const auto& entry) { return entry.second <= other.of(entry.first); });
  }

  Entries entries_;
};

}  // namespace dualmesh::crdt
