// TopK: which keys are the most frequent of a stream too large to count, and of many streams
// together.
//
//  TopK<Key>          summary of one stream, or of several merged: a value
//  TopKByOrigin<Key>  one summary per writer, replicated
//
// State of a summary: up to `capacity` keys, each with a count and the error in it; and the floor,
// which no key that is not held exceeds. A key that comes when the summary is full takes the place
// of the least, and its count as error.
//
// Invariant: count - error <= true count <= count for keys held, true count <= floor for others,
// floor <= total / capacity; so every key with more than that is held. Merging adds counts, the
// other's floor standing in for a key it does not hold, and keeps the greatest: the invariant holds
// for the merged stream, in whatever order it is merged. Ties go by key, so replicas that hold the
// same summaries see the same. A merge adds streams up and thus is not idempotent: what is
// replicated is one summary per writer (merge: per origin the one of the greater total, each origin
// changing only its own), and merging happens when reading.
// Cost: add O(log k) for a held key, O(k) else; merge O(k log k); memory 24 bytes and a key per
// place. Threads: none; values. Source: Metwally, Agrawal, El Abbadi 2005 (space-saving); merging:
// Agarwal et al. 2012, "Mergeable summaries".
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/flat_map.hpp>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "crdt/identity.h"
#include "crdt/state_digest.h"
#include "crdt/version_vector.h"

namespace dualmesh::crdt {

template <class Key>
class TopK {
 public:
  struct Cell {
    std::uint64_t count = 0;
    std::uint64_t error = 0;
    bool operator==(const Cell&) const = default;
  };
  struct Ranked {
    Key key;
    Cell cell;
  };

  explicit TopK(std::size_t capacity) : capacity_(capacity) { BOOST_ASSERT(capacity > 0); }

  void add(const Key& key, std::uint64_t amount = 1);
  // Adds the other's stream to this one. Capacities must be equal.
  void merge(const TopK& other);
  // The most frequent first.
  std::vector<Ranked> ranked() const;

  const boost::container::flat_map<Key, Cell>& cells() const { return cells_; }
  std::size_t capacity() const { return capacity_; }
  std::uint64_t floor() const { return floor_; }
  std::uint64_t total() const { return total_; }
  bool operator==(const TopK&) const = default;

 private:
  using Cells = boost::container::flat_map<Key, Cell>;

  // Does a rank above b? The greater count, then the lesser key.
  static bool above(const std::pair<Key, Cell>& a, const std::pair<Key, Cell>& b) {
    return std::tie(b.second.count, a.first) < std::tie(a.second.count, b.first);
  }
  const Cell* find(const Key& key) const {
    const auto cell = cells_.find(key);
    return cell == cells_.end() ? nullptr : &cell->second;
  }

  std::size_t capacity_;
  std::uint64_t total_ = 0;
  std::uint64_t floor_ = 0;
  Cells cells_;
};

template <class Key>
void TopK<Key>::add(const Key& key, std::uint64_t amount) {
  if (amount == 0) return;
  total_ += amount;
  if (const auto held = cells_.find(key); held != cells_.end()) {
    held->second.count += amount;
    return;
  }
  if (cells_.size() >= capacity_) {
    const auto least = std::max_element(cells_.begin(), cells_.end(), above);
    floor_ = std::max(floor_, least->second.count);
    cells_.erase(least);
  }
  cells_.emplace(key, Cell{floor_ + amount, floor_});
}

template <class Key>
void TopK<Key>::merge(const TopK& other) {
  BOOST_ASSERT(capacity_ == other.capacity_);
  std::vector<std::pair<Key, Cell>> all;
  for (const auto& [key, cell] : cells_) {
    const Cell* theirs = other.find(key);
    const Cell more = theirs != nullptr ? *theirs : Cell{other.floor_, other.floor_};
    all.emplace_back(key, Cell{cell.count + more.count, cell.error + more.error});
  }
  for (const auto& [key, cell] : other.cells_) {
    if (find(key) == nullptr) all.emplace_back(key, Cell{cell.count + floor_, cell.error + floor_});
  }
  std::sort(all.begin(), all.end(), above);
  total_ += other.total_;
  floor_ += other.floor_;
  if (all.size() > capacity_) {
    floor_ = std::max(floor_, all[capacity_].second.count);
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(capacity_), all.end());
  }
  cells_ = Cells(all.begin(), all.end());
}

template <class Key>
auto TopK<Key>::ranked() const -> std::vector<Ranked> {
  std::vector<std::pair<Key, Cell>> sorted(cells_.begin(), cells_.end());
  std::sort(sorted.begin(), sorted.end(), above);
  std::vector<Ranked> result;
  for (auto& [key, cell] : sorted) result.push_back({std::move(key), cell});
  return result;
}

template <class Key>
void hash_field(EntryHasher& hasher, const TopK<Key>& top) {
  hasher.add(top.capacity()).add(top.floor()).add(top.total());
  for (const auto& [key, cell] : top.cells()) {
    hash_field(hasher, key);
    hasher.add(cell.count).add(cell.error);
  }
}

template <class Key>
class TopKByOrigin {
 public:
  using Summaries = boost::container::flat_map<Origin, TopK<Key>>;

  explicit TopKByOrigin(std::size_t capacity) : capacity_(capacity) {}

  // Counts on behalf of `self`.
  void add(const Origin& self, const Key& key, std::uint64_t amount = 1) {
    summaries_.try_emplace(self, capacity_).first->second.add(key, amount);
  }
  // What to send of one writer: its summary, whole.
  TopKByOrigin delta_of(const Origin& origin) const {
    TopKByOrigin delta(capacity_);
    const auto summary = summaries_.find(origin);
    if (summary != summaries_.end()) delta.summaries_.insert(*summary);
    return delta;
  }
  // True when it grew. Summaries of another capacity are not taken.
  bool join(const TopKByOrigin& other) {
    bool grew = false;
    for (const auto& [origin, theirs] : other.summaries_) {
      if (theirs.capacity() != capacity_) continue;
      const auto [mine, added] = summaries_.try_emplace(origin, theirs);
      grew |= added || mine->second.total() < theirs.total();
      if (mine->second.total() < theirs.total()) mine->second = theirs;
    }
    return grew;
  }
  void drop(const Origin& origin) { summaries_.erase(origin); }
  // Of all streams together.
  TopK<Key> merged() const {
    TopK<Key> all(capacity_);
    for (const auto& entry : summaries_) all.merge(entry.second);
    return all;
  }

  const Summaries& summaries() const { return summaries_; }
  bool operator==(const TopKByOrigin&) const = default;

 private:
  std::size_t capacity_;
  Summaries summaries_;
};

template <class Key>
void hash_field(EntryHasher& hasher, const TopKByOrigin<Key>& top) {
  hasher.add(top.summaries().size());
  for (const auto& [origin, summary] : top.summaries()) {
    hash_field(hasher, origin);
    hash_field(hasher, summary);
  }
}

}  // namespace dualmesh::crdt
