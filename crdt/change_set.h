// ChangeSet: what a replica knows of a set that one source changes in numbered steps, when steps
// may be missing.
//
// The source (an inference engine and its cached blocks) numbers its batches of additions and
// removals 1, 2, 3, ...; nobody can ask it for the whole set. A replica knows some intervals
// (base, end] of that history. Of each it keeps the net effect: the keys present, the keys removed
// since base. An interval with base 0 is complete: its effect is the set itself. So is one that
// holds a clearing, which makes all before it irrelevant: its base becomes 0.
//
// Invariant: present and removed are disjoint; a complete interval removes nothing; intervals lie
// in rising order with steps missing between any two; only the newest may be empty, to be continued
// from its end. Questions are answered from the newest: what it says is present was so after step
// end(), and it says all when complete(). An incomplete one misses keys and never invents one.
// Merge: the union of the steps known. An interval that touches or overlaps a lower one is laid
// over it, present = (present_low - removed_high) + present_high; one inside another is absorbed.
// Of more than kMaxIntervals the oldest incomplete ones are dropped, which costs completeness and
// never truth (only then does the order of merges show); a complete one stays, so that whoever is
// told in order from the beginning gets there.
// Deltas are change sets themselves: of the steps since what the receiver has.
// A set of dots joined over gaps would be wrong here: a removal whose addition came later is lost.
// Cost: apply O(1) per change; join O(smaller interval) where two are laid together, so a delta
// costs its own size, plus the copy of what is new. Memory: open addressing, 9 to 20 bytes per
// 64-bit key. Threads: none; owned by one thread. Source: ours, a delta interval (Almeida et al.
// 2018) of one writer under explicit bounds.
//
// Key is a regular type, hashable by boost::hash, with `hash_field` (crdt/state_digest.h).
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

#include "crdt/feed.h"
#include "crdt/identity.h"
#include "crdt/state_digest.h"

namespace dualmesh::crdt {

namespace detail {

// A set of keys that keeps its digest.
template <class Key>
class DigestedSet {
 public:
  bool insert(const Key& key) {
    const bool added = keys_.insert(key).second;
    if (added) digest_.add(hash(key));
    return added;
  }
  bool erase(const Key& key) {
    const bool erased = keys_.erase(key) != 0;
    if (erased) digest_.remove(hash(key));
    return erased;
  }
  void clear() { *this = DigestedSet{}; }
  const boost::unordered_flat_set<Key>& keys() const { return keys_; }
  const StateDigest& digest() const { return digest_; }

 private:
  static std::uint64_t hash(const Key& key) {
    EntryHasher hasher;
    hash_field(hasher, key);
    return hasher.finish();
  }

  boost::unordered_flat_set<Key> keys_;
  StateDigest digest_;
};

}  // namespace detail

template <class Key>
class ChangeSet {
 public:
  static constexpr std::size_t kMaxIntervals = 4;

  enum class Kind : std::uint8_t { add, remove, clear };
  struct Change {
    Kind kind = Kind::add;
    Key key{};  // of a clearing: unused
  };
  class Interval {
   public:
    Version base() const { return base_; }  // excluded
    Version end() const { return end_; }
    bool complete() const { return base_ == Version{}; }
    bool empty() const { return base_ == end_; }
    const boost::unordered_flat_set<Key>& present() const { return present_.keys(); }
    const boost::unordered_flat_set<Key>& removed() const { return removed_.keys(); }

   private:
    friend class ChangeSet;
    void change(const Change& change);
    void lay_under(Interval&& high);  // this becomes both; they touch or overlap
    bool holds(const Interval& other) const { return base_ <= other.base_ && other.end_ <= end_; }
    bool holds(Version step) const { return base_ < step && step <= end_; }

    Version base_, end_;
    detail::DigestedSet<Key> present_, removed_;
  };

  // Knows nothing but that the source began with nothing: to be continued with step 1.
  ChangeSet() : intervals_(1) {}
  // Knows nothing of what happened up to `base`: to be continued from there.
  static ChangeSet after(Version base);
  // For codecs: one interval; further ones are joined. Empty for what cannot be an interval.
  static std::optional<ChangeSet> restore(Version base, Version end, std::span<const Key> present,
                                          std::span<const Key> removed);

  // Applies batch `step` to the newest interval: changed when it is the next one, duplicate when it
  // is known, gap when it does not join on; state is untouched unless changed. A gap is bridged by
  // joining what another replica knows, or left behind by joining `after(step - 1)`.
  Applied apply(Version step, std::span<const Change> batch);
  // True when it grew.
  bool join(ChangeSet other);

  bool contains(const Key& key) const { return newest().present().contains(key); }
  std::size_t size() const { return newest().present().size(); }
  bool complete() const { return newest().complete(); }
  Version end() const { return newest().end(); }
  const Interval& newest() const { return intervals_.back(); }
  std::span<const Interval> intervals() const { return {intervals_.data(), intervals_.size()}; }
  // Of all that is known; O(intervals). Equal bounds with unequal digests: the source has given one
  // number twice, or this state is broken.
  StateDigest digest() const;
  bool operator==(const ChangeSet& other) const;

 private:
  using Intervals = boost::container::small_vector<Interval, 1>;

  void drop_useless();

  Intervals intervals_;  // never empty
};

template <class Key>
void ChangeSet<Key>::Interval::change(const Change& change) {
  switch (change.kind) {
    case Kind::add:
      present_.insert(change.key);
      removed_.erase(change.key);
      break;
    case Kind::remove:
      present_.erase(change.key);
      if (!complete()) removed_.insert(change.key);
      break;
    case Kind::clear:
      present_.clear();
      removed_.clear();
      base_ = Version{};
      break;
  }
}

template <class Key>
void ChangeSet<Key>::Interval::lay_under(Interval&& high) {
  BOOST_ASSERT(high.base_ <= end_ && end_ <= high.end_);
  if (high.holds(*this)) {
    *this = std::move(high);
    return;
  }
  const auto work = [](const Interval& side) {
    return side.present().size() + side.removed().size();
  };
  if (work(high) <= work(*this)) {
    for (const Key& key : high.removed()) change({Kind::remove, key});
    for (const Key& key : high.present()) change({Kind::add, key});
    end_ = high.end_;
    return;
  }
  for (const Key& key : present()) {
    if (!high.removed().contains(key)) high.present_.insert(key);
  }
  if (complete()) high.removed_.clear();
  for (const Key& key : removed()) {
    if (!high.present().contains(key)) high.removed_.insert(key);
  }
  high.base_ = base_;
  *this = std::move(high);
}

template <class Key>
ChangeSet<Key> ChangeSet<Key>::after(Version base) {
  ChangeSet result;
  Interval& only = result.intervals_.back();
  only.base_ = only.end_ = base;
  return result;
}

template <class Key>
auto ChangeSet<Key>::restore(Version base, Version end, std::span<const Key> present,
                             std::span<const Key> removed) -> std::optional<ChangeSet> {
  const bool complete = base == Version{};
  if (end < base || (complete && !removed.empty())) return std::nullopt;
  if (base == end && !(present.empty() && removed.empty())) return std::nullopt;
  ChangeSet result = after(base);
  Interval& only = result.intervals_.back();
  only.end_ = end;
  for (const Key& key : present) only.present_.insert(key);
  for (const Key& key : removed) {
    if (only.present().contains(key)) return std::nullopt;
    only.removed_.insert(key);
  }
  return result;
}

template <class Key>
Applied ChangeSet<Key>::apply(Version step, std::span<const Change> batch) {
  Interval& last = intervals_.back();
  if (step <= last.end_ || step.value - last.end_.value != 1) {
    const bool known = std::any_of(intervals_.begin(), intervals_.end(),
                                   [&](const Interval& interval) { return interval.holds(step); });
    return known ? Applied::duplicate : Applied::gap;
  }
  for (const Change& change : batch) last.change(change);
  last.end_ = step;
  if (last.complete()) {  // perhaps by a clearing just now
    intervals_.erase(intervals_.begin(), intervals_.end() - 1);
  }
  return Applied::changed;
}

template <class Key>
bool ChangeSet<Key>::join(ChangeSet other) {
  boost::container::small_vector<std::pair<Version, Version>, kMaxIntervals> before;
  for (const Interval& interval : intervals_) before.emplace_back(interval.base_, interval.end_);

  Intervals all = std::move(intervals_);
  std::move(other.intervals_.begin(), other.intervals_.end(), std::back_inserter(all));
  // Lower ends first; of two with one end the shorter first, so that the longer absorbs it.
  std::sort(all.begin(), all.end(), [](const Interval& a, const Interval& b) {
    return a.end_ != b.end_ ? a.end_ < b.end_ : a.base_ > b.base_;
  });
  intervals_.clear();
  for (Interval& next : all) {
    while (!intervals_.empty() && next.base_ <= intervals_.back().end_) {
      Interval low = std::move(intervals_.back());
      intervals_.pop_back();
      if (!low.holds(next)) low.lay_under(std::move(next));
      next = std::move(low);
    }
    intervals_.push_back(std::move(next));
  }
  drop_useless();
  return !std::equal(before.begin(), before.end(), intervals_.begin(), intervals_.end(),
                     [](const auto& bounds, const Interval& interval) {
                       return bounds.first == interval.base_ && bounds.second == interval.end_;
                     });
}

template <class Key>
void ChangeSet<Key>::drop_useless() {
  const auto newest = intervals_.end() - 1;
  const auto known = std::remove_if(intervals_.begin(), newest,
                                    [](const Interval& interval) { return interval.empty(); });
  intervals_.erase(known, newest);
  if (intervals_.size() > kMaxIntervals) {
    const auto oldest = intervals_.begin() + (intervals_.front().complete() ? 1 : 0);
    intervals_.erase(oldest, oldest + (intervals_.size() - kMaxIntervals));
  }
}

template <class Key>
StateDigest ChangeSet<Key>::digest() const {
  StateDigest digest;
  for (const Interval& interval : intervals_) {
    EntryHasher hasher;
    hasher.add(interval.base_.value).add(interval.end_.value);
    for (const auto* keys : {&interval.present_, &interval.removed_}) {
      hasher.add(keys->digest().count).add(keys->digest().sum);
    }
    digest.add(hasher.finish());
  }
  return digest;
}

template <class Key>
bool ChangeSet<Key>::operator==(const ChangeSet& other) const {
  return std::equal(intervals_.begin(), intervals_.end(), other.intervals_.begin(),
                    other.intervals_.end(), [](const Interval& a, const Interval& b) {
                      return a.base_ == b.base_ && a.end_ == b.end_ && a.present() == b.present() &&
                             a.removed() == b.removed();
                    });
}

}  // namespace dualmesh::crdt
