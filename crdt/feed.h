// Feed: a versioned map written by exactly one origin and replicated everywhere.
//
// State: key -> (version, value or deleted), plus `version()` (the highest issued) and
// `collected()` (tombstones at or below it are forgotten). The writer calls put/erase; a replica
// calls apply with deltas in version order. A delta covers (from_excluded, to] and may be cut only
// at its end, so a replica that has applied through v has missed no change up to v.
//
// Invariant: a replica at version v holds every key that the writer last changed at or below v just
// as the writer holds it; at the writer's version it equals the writer's map. Merge: per key the
// higher version. A delta whose range does not join on is refused and changes nothing. A replica
// behind the collection horizon cannot know what was deleted, takes only a snapshot (from_excluded
// = 0) and starts afresh with it. Cost: put, erase O(1) amortised; delta O(log n) and a step per
// change, at most 3 n; collect O(1) without tombstones, else O(n). Memory: an entry per live key
// and per tombstone not yet collected, never per change: a slow peer costs state, not time
// (conflation). Threads: none; owned by one thread. Source: chitchat (Quickwit) for versioned
// deletes with a collection horizon; mosh's state synchronisation for deltas against an
// acknowledged version.
//
// Key and Value are regular types; Key is hashable by boost::hash; `hash_entry(EntryHasher&, key,
// value)` is found by argument-dependent lookup (crdt/state_digest.h).
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "crdt/identity.h"
#include "crdt/state_digest.h"
#include "crdt/version_log.h"

namespace dualmesh::crdt {

enum class Applied {
  changed,        // state advanced
  duplicate,      // everything in it was already known; state untouched
  gap,            // from_excluded is beyond our version: ask again from ours; state untouched
  below_horizon,  // we are behind the writer's collection horizon: a snapshot is needed; untouched
  malformed,      // versions out of order or out of range; state untouched
};

namespace detail {

// Do `entries` rise strictly in version and stay within (from_excluded, to]?
template <class Entries>
bool versions_rise_within(Version from_excluded, Version to, const Entries& entries) {
  Version last = from_excluded;
  for (const auto& entry : entries) {
    if (entry.version <= last) return false;
    last = entry.version;
  }
  return last <= to;
}

}  // namespace detail

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
    bool cut = false;            // more has changed since from_excluded

    bool is_snapshot() const { return from_excluded == Version{}; }
  };

  // Writer. Both return whether anything changed; an equal value issues no version.
  bool put(const Key& key, const Value& value);
  bool erase(const Key& key);
  // Forgets tombstones up to `through`, the lowest version that every live replica has applied. The
  // horizon rises only to the last one forgotten: where nothing was deleted nobody needs a
  // snapshot.
  void collect(Version through) { collected_ = std::max(collected_, forget_tombstones(through)); }

  // Anyone. Pointers are good until the next change.
  const Value* find(const Key& key) const;
  template <class Visit>  // visit(key, value), live entries in unspecified order
  void for_each(Visit&& visit) const;
  template <class Visit>  // visit(key, version, value), likewise; the version that last set it
  void for_each_version(Visit&& visit) const;
  std::size_t size() const { return held_.size() - tombstones_; }
  Version version() const { return version_; }
  Version collected() const { return collected_; }
  // A replica whose last delta was cut: keys that the writer has changed again since are missing,
  // so its digest is that of no version of the writer.
  bool partial() const { return partial_; }
  StateDigest digest() const { return digest_.total(); }  // of live entries: key, version and value
  const BucketSums& bucket_sums() const { return digest_.sums(); }
  template <class Visit>  // visit(key, version, value), the live entries of some buckets
  void for_each_in(const Buckets& buckets, Visit&& visit) const;
  // At most `max_entries` (> 0) entries after `from`, oldest change first; a snapshot when `from`
  // is below collected(). A snapshot is not cut below collected(), whatever its length: a replica
  // standing there could not be told from one that missed the forgotten deletions. One that is cut
  // above goes on as ordinary deltas from its `to`.
  Delta delta_since(Version from, std::size_t max_entries) const;

  // Replica.
  Applied apply(const Delta& delta);

 private:
  struct Held {
    Version version;
    std::optional<Value> value;
    std::uint64_t hash = 0;  // of key, version and value, where there is one
  };
  using Record = typename VersionLog<Key>::Record;

  static std::uint64_t hash_of(const Key& key, Version version, const Value& value) {
    EntryHasher hasher;
    hash_entry(hasher, key, value);
    return hasher.add(version.value).finish();
  }
  const Held* current(const Record& record) const;  // nullptr: outdated
  void set(const Key& key, Version version, const std::optional<Value>& value);
  Version forget_tombstones(Version through);  // the highest forgotten
  auto is_current() const {
    return [this](const Record& record) { return current(record) != nullptr; };
  }

  boost::unordered_flat_map<Key, Held> held_;
  VersionLog<Key> log_;
  std::size_t tombstones_ = 0;
  Version version_;
  Version collected_;
  bool partial_ = false;
  BucketedDigest digest_;
};

template <class Key, class Value>
bool Feed<Key, Value>::put(const Key& key, const Value& value) {
  const Value* known = find(key);
  if (known != nullptr && *known == value) return false;
  version_ = version_.next();
  set(key, version_, value);
  return true;
}

template <class Key, class Value>
bool Feed<Key, Value>::erase(const Key& key) {
  if (find(key) == nullptr) return false;
  version_ = version_.next();
  set(key, version_, std::nullopt);
  return true;
}

template <class Key, class Value>
const Value* Feed<Key, Value>::find(const Key& key) const {
  auto slot = held_.find(key);
  return slot != held_.end() && slot->second.value ? &*slot->second.value : nullptr;
}

template <class Key, class Value>
template <class Visit>
void Feed<Key, Value>::for_each(Visit&& visit) const {
  for (const auto& [key, held] : held_) {
    if (held.value) visit(key, *held.value);
  }
}

template <class Key, class Value>
template <class Visit>
void Feed<Key, Value>::for_each_version(Visit&& visit) const {
  for (const auto& [key, held] : held_) {
    if (held.value) visit(key, held.version, *held.value);
  }
}

template <class Key, class Value>
template <class Visit>
void Feed<Key, Value>::for_each_in(const Buckets& buckets, Visit&& visit) const {
  for (const auto& [key, held] : held_) {
    if (held.value && buckets[bucket_of(held.hash)]) visit(key, held.version, *held.value);
  }
}

template <class Key, class Value>
auto Feed<Key, Value>::delta_since(Version from, std::size_t max_entries) const -> Delta {
  BOOST_ASSERT(max_entries > 0);
  if (from < collected_) from = Version{};
  from = std::min(from, version_);
  Delta delta{from, version_, collected_, {}, partial_};
  for (auto record = log_.after(from); record != log_.end(); ++record) {
    const Held* held = current(*record);
    if (held == nullptr) continue;
    if (delta.entries.size() >= max_entries && record->version > collected_) {
      delta.to = Version{record->version.value - 1};  // before it, all is sent or outdated
      delta.cut = true;
      break;
    }
    delta.entries.push_back(Entry{record->key, held->version, held->value});
  }
  return delta;
}

template <class Key, class Value>
Applied Feed<Key, Value>::apply(const Delta& delta) {
  if (delta.to < delta.from_excluded || delta.to < delta.collected ||
      !detail::versions_rise_within(delta.from_excluded, delta.to, delta.entries)) {
    return Applied::malformed;
  }
  if (delta.from_excluded > version_) return Applied::gap;
  const bool behind_horizon = version_ < delta.collected;
  if (behind_horizon && !delta.is_snapshot()) return Applied::below_horizon;
  if (delta.to <= version_ && delta.collected <= collected_) return Applied::duplicate;

  if (behind_horizon) *this = Feed{};
  for (const Entry& entry : delta.entries) {
    if (entry.version > version_) set(entry.key, entry.version, entry.value);
  }
  if (delta.to > version_) partial_ = delta.cut;
  version_ = std::max(version_, delta.to);
  forget_tombstones(delta.collected);
  collected_ = std::max(collected_, delta.collected);
  return Applied::changed;
}

template <class Key, class Value>
auto Feed<Key, Value>::current(const Record& record) const -> const Held* {
  auto slot = held_.find(record.key);
  return slot != held_.end() && slot->second.version == record.version ? &slot->second : nullptr;
}

template <class Key, class Value>
void Feed<Key, Value>::set(const Key& key, Version version, const std::optional<Value>& value) {
  auto [slot, added] = held_.try_emplace(key);
  Held& held = slot->second;
  if (held.value) {
    digest_.remove(held.hash);
  } else if (!added) {
    --tombstones_;
  }
  held = Held{version, value};
  if (held.value) {
    held.hash = hash_of(key, version, *held.value);
    digest_.add(held.hash);
  } else {
    ++tombstones_;
  }
  log_.append(version, key);
  log_.trim(held_.size(), is_current());
}

template <class Key, class Value>
Version Feed<Key, Value>::forget_tombstones(Version through) {
  Version highest;
  if (tombstones_ == 0) return highest;
  for (const Record& record : log_) {
    if (record.version > through || tombstones_ == 0) break;
    const Held* held = current(record);
    if (held == nullptr || held->value) continue;
    held_.erase(record.key);
    --tombstones_;
    highest = record.version;
  }
  log_.trim_all(held_.size(), is_current());
  return highest;
}

}  // namespace dualmesh::crdt
