// Registers: single values that many may write, as lattices for crdt/table.h.
//
//  LastWriter<T>  the value with the greatest stamp; equal stamps fall back to the greater value,
//                 so that two nodes seeding from differing files still converge.
//  Max<T>         the greatest value ever joined.
//  MultiValue<T>  all values that no other value has overwritten: concurrent edits stay visible.
//                 Each value carries its dot, the stamp of the write; the register carries what it
//                 has seen, per writer the time of its last write. A value missing on one side
//                 survives only if that side has not seen its dot.
//
// Invariant: a writer's stamps strictly increase, and it writes to a state that holds its earlier
// writes; so "seen up to t" covers all its writes up to t. One dot never stands for two values; if
// a faulty writer did that all the same, the greater value wins everywhere. Merge: as above; each
// `join` returns whether the register grew. Cost: O(1), MultiValue O(siblings). Threads: none;
// values. Source: Shapiro et al. 2011, "A comprehensive study of convergent and commutative
// replicated data types" (3.2.1 LWW, 3.2.2 MV); MultiValue in the dotted form of Almeida et al.
// 2018.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/flat_map.hpp>
#include <boost/container/small_vector.hpp>
#include <tuple>
#include <utility>

#include "crdt/hybrid_clock.h"

namespace dualmesh::crdt {

template <class T>
struct LastWriter {
  Stamp stamp;
  T value{};

  bool join(const LastWriter& other) {
    if (std::tie(other.stamp, other.value) <= std::tie(stamp, value)) return false;
    *this = other;
    return true;
  }
  bool operator==(const LastWriter&) const = default;
};

template <class T>
struct Max {
  T value{};

  bool join(const Max& other) {
    if (other.value <= value) return false;
    value = other.value;
    return true;
  }
  bool operator==(const Max&) const = default;
};

template <class T>
class MultiValue {
 public:
  struct Sibling {
    Stamp dot;  // unique per write
    T value{};
    bool operator==(const Sibling&) const = default;
  };

  using Siblings = boost::container::small_vector<Sibling, 1>;
  using Seen = boost::container::flat_map<NodeId, std::uint64_t>;

  // Replaces every value visible here. The dot must be newer than any of its writer that was seen:
  // pass the times of seen() through HybridClock::observe before joining what a peer sent.
  void assign(Stamp dot, T value);
  bool join(const MultiValue& other);
  const Siblings& siblings() const { return siblings_; }
  // The value to act on until an administrator resolves a conflict: that of the greatest stamp.
  const T* chosen() const { return siblings_.empty() ? nullptr : &siblings_.back().value; }
  bool operator==(const MultiValue&) const = default;

  // For codecs: the writers' greatest times seen by this register. `restore` takes any input and
  // makes a proper register of it: siblings in order, one per dot, all of them seen.
  const Seen& seen() const { return seen_; }
  static MultiValue restore(Siblings siblings, Seen seen);

 private:
  bool has_seen(Stamp dot) const {
    auto entry = seen_.find(dot.writer);
    return entry != seen_.end() && dot.time <= entry->second;
  }
  void see(NodeId writer, std::uint64_t time) {
    std::uint64_t& seen = seen_[writer];
    seen = std::max(seen, time);
  }

  Siblings siblings_;  // in rising dot order
  Seen seen_;          // causal context: writer -> time
};

template <class T>
void MultiValue<T>::assign(Stamp dot, T value) {
  BOOST_ASSERT(!has_seen(dot));
  siblings_.clear();
  siblings_.push_back(Sibling{dot, std::move(value)});
  see(dot.writer, dot.time);
}

template <class T>
bool MultiValue<T>::join(const MultiValue& other) {
  MultiValue joined;
  auto mine = siblings_.begin();
  auto theirs = other.siblings_.begin();
  while (mine != siblings_.end() || theirs != other.siblings_.end()) {
    const bool only_mine =
        theirs == other.siblings_.end() || (mine != siblings_.end() && mine->dot < theirs->dot);
    const bool only_theirs =
        mine == siblings_.end() || (theirs != other.siblings_.end() && theirs->dot < mine->dot);
    if (only_mine) {
      if (!other.has_seen(mine->dot)) joined.siblings_.push_back(*mine);
      ++mine;
    } else if (only_theirs) {
      if (!has_seen(theirs->dot)) joined.siblings_.push_back(*theirs);
      ++theirs;
    } else {
      joined.siblings_.push_back(mine->value < theirs->value ? *theirs : *mine);
      ++mine, ++theirs;
    }
  }
  joined.seen_ = seen_;
  // The places of all at once: one by one they would cost the square of their number.
  joined.seen_.insert(boost::container::ordered_unique_range, other.seen_.begin(),
                      other.seen_.end());
  for (const auto& [writer, time] : other.seen_) joined.see(writer, time);
  if (joined == *this) return false;
  *this = std::move(joined);
  return true;
}

template <class T>
MultiValue<T> MultiValue<T>::restore(Siblings siblings, Seen seen) {
  MultiValue restored;
  restored.seen_ = std::move(seen);
  std::sort(siblings.begin(), siblings.end(), [](const Sibling& a, const Sibling& b) {
    return std::tie(a.dot, a.value) < std::tie(b.dot, b.value);
  });
  for (Sibling& sibling : siblings) {
    restored.see(sibling.dot.writer, sibling.dot.time);
    Siblings& kept = restored.siblings_;
    if (!kept.empty() && kept.back().dot == sibling.dot) kept.pop_back();
    kept.push_back(std::move(sibling));
  }
  return restored;
}

template <class T>
void hash_field(EntryHasher& hasher, const LastWriter<T>& last_writer) {
  hash_field(hasher, last_writer.stamp);
  hash_field(hasher, last_writer.value);
}

template <class T>
void hash_field(EntryHasher& hasher, const Max<T>& max) {
  hash_field(hasher, max.value);
}

template <class T>
void hash_field(EntryHasher& hasher, const MultiValue<T>& register_) {
  hasher.add(register_.siblings().size());
  for (const auto& sibling : register_.siblings()) {
    hash_field(hasher, sibling.dot);
    hash_field(hasher, sibling.value);
  }
  for (const auto& [writer, time] : register_.seen()) hasher.add(writer.value).add(time);
}

}  // namespace dualmesh::crdt
