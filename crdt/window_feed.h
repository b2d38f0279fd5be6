// WindowFeed: a single-writer feed of keys that expire in the order in which they were last
// touched.
//
// State: key -> version of its last touch, plus `floor()`: whatever was last touched at or below
// the floor is gone. Because expiry follows touch order, one number says everything that has
// expired: no tombstones, no clocks at the replicas.
//
// Invariant: a replica at (floor, version) holds exactly the keys the writer last touched in
// (floor, version].
// Merge: floor and version by maximum, per key the higher version. A delta that does not join on is
// refused; being behind the floor needs no reset, for what was missed there has expired.
// Cost: touch O(1) but for the table's growth; expiry O(expired), of everything at once the price
// of giving memory back; delta O(log n) and a step per touch, at most 3 n; memory one entry per
// live key, never per touch. Threads: none; owned by one thread. Source: ours; the shape of a
// sliding window over a feed (crdt/feed.h).
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <vector>

#include "crdt/feed.h"
#include "crdt/version_log.h"

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
  void expire(Version through) {
    raise_floor(std::min(through, version_), [](const Key&) {});
  }

  // Anyone.
  bool contains(const Key& key) const { return held_.contains(key); }
  template <class Visit>  // visit(key, version), in rising version order
  void for_each(Visit&& visit) const;
  std::size_t size() const { return held_.size(); }
  Version version() const { return version_; }
  Version floor() const { return floor_; }
  StateDigest digest() const { return digest_.total(); }  // of held keys: key and version
  const BucketSums& bucket_sums() const { return digest_.sums(); }
  template <class Visit>  // visit(key, version), in unspecified order, the keys of some buckets
  void for_each_in(const Buckets& buckets, Visit&& visit) const;
  // At most `max_entries` (> 0) entries after `from`, oldest touch first.
  Delta delta_since(Version from, std::size_t max_entries) const;

  // Replica. `on_added(key)` for each key that was not held before, `on_expired(key)` for each that
  // left; neither may change this feed. Expiry alone (an empty delta with a higher floor) counts as
  // changed. Never below_horizon.
  template <class OnAdded, class OnExpired>
  Applied apply(const Delta& delta, OnAdded&& on_added, OnExpired&& on_expired);

 private:
  using Record = typename VersionLog<Key>::Record;

  static std::uint64_t hash_of(const Key& key, Version version) {
    EntryHasher hasher;
    hash_entry(hasher, key, version);
    return hasher.finish();
  }
  bool is_current(const Record& record) const;
  bool set(const Key& key, Version version);  // true when it was not held before
  template <class OnExpired>
  void raise_floor(Version floor, OnExpired&& on_expired);

  boost::unordered_flat_map<Key, Version> held_;
  VersionLog<Key> log_;
  Version version_;
  Version floor_;
  BucketedDigest digest_;
};

template <class Key>
Version WindowFeed<Key>::touch(const Key& key) {
  version_ = version_.next();
  set(key, version_);
  return version_;
}

template <class Key>
template <class Visit>
void WindowFeed<Key>::for_each(Visit&& visit) const {
  for (const Record& record : log_) {
    if (is_current(record)) visit(record.key, record.version);
  }
}

template <class Key>
template <class Visit>
void WindowFeed<Key>::for_each_in(const Buckets& buckets, Visit&& visit) const {
  for (const auto& [key, version] : held_) {
    if (buckets[bucket_of(hash_of(key, version))]) visit(key, version);
  }
}

template <class Key>
auto WindowFeed<Key>::delta_since(Version from, std::size_t max_entries) const -> Delta {
  BOOST_ASSERT(max_entries > 0);
  from = std::min(from, version_);
  Delta delta{from, version_, floor_, {}};
  for (auto record = log_.after(from); record != log_.end(); ++record) {
    if (!is_current(*record)) continue;
    if (delta.entries.size() >= max_entries) {
      delta.to = Version{record->version.value - 1};  // before it, all is sent or outdated
      break;
    }
    delta.entries.push_back(Entry{record->key, record->version});
  }
  return delta;
}

template <class Key>
template <class OnAdded, class OnExpired>
Applied WindowFeed<Key>::apply(const Delta& delta, OnAdded&& on_added, OnExpired&& on_expired) {
  if (delta.to < delta.from_excluded || delta.to < delta.floor ||
      !detail::versions_rise_within(delta.from_excluded, delta.to, delta.entries)) {
    return Applied::malformed;
  }
  if (delta.from_excluded > version_) return Applied::gap;
  if (delta.to <= version_ && delta.floor <= floor_) return Applied::duplicate;

  // Entries first: a key touched again above the new floor stays, without leaving in between.
  for (const Entry& entry : delta.entries) {
    if (entry.version > version_ && set(entry.key, entry.version)) on_added(entry.key);
  }
  version_ = std::max(version_, delta.to);
  raise_floor(delta.floor, on_expired);
  return Applied::changed;
}

template <class Key>
bool WindowFeed<Key>::is_current(const Record& record) const {
  auto slot = held_.find(record.key);
  return slot != held_.end() && slot->second == record.version;
}

template <class Key>
bool WindowFeed<Key>::set(const Key& key, Version version) {
  auto [slot, added] = held_.try_emplace(key, version);
  if (!added) {
    digest_.remove(hash_of(key, slot->second));
    slot->second = version;
  }
  digest_.add(hash_of(key, version));
  log_.append(version, key);
  log_.trim(held_.size(), [this](const Record& record) { return is_current(record); });
  return added;
}

template <class Key>
template <class OnExpired>
void WindowFeed<Key>::raise_floor(Version floor, OnExpired&& on_expired) {
  floor_ = std::max(floor_, floor);
  if (floor_ >= version_) {  // all of it: no need to look each up
    for (const auto& [key, version] : held_) on_expired(key);
    held_ = {};
    log_.clear();
    digest_ = {};
    return;
  }
  while (!log_.empty() && log_.front().version <= floor_) {
    const Record& record = log_.front();
    if (is_current(record)) {
      digest_.remove(hash_of(record.key, record.version));
      held_.erase(record.key);
      on_expired(record.key);
    }
    log_.pop_front();
  }
}

}  // namespace dualmesh::crdt
