// ChangeMap: what a replica knows of a multiset that one source changes in numbered steps, when
// steps may be missing.
//
// The source (an inference engine and its cached blocks) numbers its batches of additions and
// removals 1, 2, 3, ...; nobody can ask it for the whole. A replica knows one interval (base,
// end] of that history and keeps its net effect. The effect on one key is (removed, added):
// first so many copies go, if there are as many, then so many come. Two effects one after the
// other are one again,
//   (r1, a1) then (r2, a2) = (r1 + max(0, r2 - a1), a2 + max(0, a1 - r2)),
// which is associative, so intervals that join on may be laid together in any grouping. With
// base 0, or after a clearing, the interval is complete: its effect is the multiset itself, and
// `removed` is not kept.
//
// Invariant: a key is held only with removed + added > 0; a complete map has no removed. What
// is present (added > 0) was so after step end(); a complete one says all, another misses keys
// and never invents one.
// Merge: an interval that ends where another begins is laid under it; one inside another is
// absorbed; of two with steps missing between them, or with steps known to both (counts cannot
// be taken apart by step), the later one is kept, which costs completeness and never truth. So
// what is known may depend on the order of merges, and what is said never does: equal (base,
// end) means equal state.
// Values: equal keys have equal values, or one that is not known yet (`Value::known()`): a
// known one stays. Counts saturate at 65,535, beyond which a key may be missed, never invented.
// Cost: apply O(1) per change; join O(the other side), and of this one too where it is
// completed. A place of 24 bytes for a 64-bit key and a value of 12, 30 to 38 bytes per entry
// held.
// Threads: none; owned by one thread. Source: ours; a delta interval (Almeida et al. 2018) of
// one writer under explicit bounds; the counts are the bicyclic monoid.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include "crdt/feed.h"
#include "crdt/flat_table.h"
#include "crdt/identity.h"
#include "crdt/state_digest.h"

namespace dualmesh::crdt {

// For those who need not follow what is present.
struct NoObserver {
  void appeared(const auto&, const auto&) {}
  void vanished(const auto&, const auto&) {}
  void soon(const auto&, const auto&) {}
};

template <class Key, class Value, template <class> class Allocator = std::allocator>
class ChangeMap {
 public:
  enum class Kind : std::uint8_t { add, remove, clear };
  struct Change {
    Change() = default;
    Change(Kind what, const Key& of, const Value& content) : key(of), value(content), kind(what) {}

    Key key{};              // of a clearing: unused
    Value value{};          // of an addition
    Kind kind = Kind::add;  // last, where it takes no more room than the padding
  };
  struct Entry {
    Value value{};
    std::uint16_t removed = 0, added = 0;

    bool present() const { return added > 0; }
    bool visible() const { return added > 0 && value.known(); }
    bool vacant() const { return removed == 0 && added == 0; }
  };

  // Knows nothing but that the source began with nothing: to be continued with step 1.
  ChangeMap() = default;
  // Knows nothing of what happened up to `base`: to be continued from there.
  static ChangeMap after(Version base);
  // For codecs. Empty for what cannot be an interval.
  static std::optional<ChangeMap> restore(Version base, Version end,
                                          std::span<const std::pair<Key, Entry>> entries);

  // An observer is told appeared(key, value) of each key that becomes present with a known value,
  // and vanished(key, value) of each that is so no longer; a clearing tells it of every key.
  // soon(key, value) is a hint some time before either, to fetch memory ahead.

  // The changes of the steps (from, to], in order. They cannot be told apart by step: duplicate
  // when `to` is no later than end(), else gap unless `from` is end(); state is untouched unless
  // changed.
  template <class Observer = NoObserver>
  Applied apply(Version from, Version to, std::span<const Change> changes,
                Observer&& observer = {});
  // True when it grew, in steps known or in values known.
  template <class Observer = NoObserver>
  bool join(ChangeMap&& other, Observer&& observer = {});

  const Entry* find(const Key& key) const { return entries_.find(key); }
  // Hints that this key is asked for soon: the first, and once that has come the second.
  [[gnu::always_inline]] void prefetch(const Key& key) const { entries_.prefetch(key); }
  [[gnu::always_inline]] void prefetch_entry(const Key& key) const { entries_.prefetch_entry(key); }
  template <class Visit>  // visit(key, entry), in unspecified order
  void for_each(Visit&& visit) const {
    entries_.for_each(visit);
  }
  template <class Visit>  // the same, of keys whose table_order (crdt/flat_table.h) is within
  void for_each_between(std::uint64_t lowest, std::uint64_t highest, Visit&& visit) const {
    entries_.for_each_between(lowest, highest, visit);
  }
  void reserve(std::size_t entries) { entries_.reserve(entries); }
  std::size_t size() const { return entries_.size(); }  // entries, removals included
  std::size_t present() const { return present_; }
  std::size_t unknown() const { return unknown_; }  // present without a known value
  Version base() const { return base_; }            // excluded
  Version end() const { return end_; }
  bool complete() const { return base_ == Version{}; }
  std::size_t memory_bytes() const { return entries_.memory_bytes(); }
  // Of bounds, keys and counts; values follow their keys. Equal bounds with unequal digests: the
  // source has given one number twice, or this state is broken.
  StateDigest digest() const {
    return {entries_.size(), sum_ + mixed(base_.value + kGolden * end_.value)};
  }
  // Values that only one side knows are no difference.
  bool operator==(const ChangeMap& other) const;

 private:
  static constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15ULL;

  static std::uint64_t hash(const Key& key, const Entry& entry);
  static std::uint16_t saturated(std::uint32_t count) {
    return static_cast<std::uint16_t>(std::min<std::uint32_t>(count, UINT16_MAX));
  }
  // Lays `high` over `low`.
  static void compose(Entry& low, const Entry& high);

  bool inside(const ChangeMap& other) const { return other.base_ <= base_ && end_ <= other.end_; }
  // alter(entry), with all that hangs on the entry.
  template <class Alter, class Observer>
  void update(const Key& key, Observer& observer, Alter&& alter);
  void count(const Key& key, const Entry& entry);  // in
  void discount(const Key& key, const Entry& entry);
  template <class Observer>
  void apply(const Change& change, Observer& observer);
  template <class Observer>
  void announce(const Change& change, Observer& observer) const;  // entry has been prefetched
  template <class Observer>
  void clear(Observer& observer);
  template <class Observer>
  bool learn(const ChangeMap& other, Observer& observer);  // values not known here
  template <class Observer>
  void replace(ChangeMap&& other, Observer& observer);
  template <class Observer>
  void lay_over(const ChangeMap& high, Observer& observer);  // high.base() == end()
  template <class Observer>
  void lay_under(const ChangeMap& low, Observer& observer);  // low.end() == base()

  FlatTable<Key, Entry, Allocator> entries_;
  std::size_t present_ = 0, unknown_ = 0;
  std::uint64_t sum_ = 0;
  Version base_, end_;
};

template <class Key, class Value, template <class> class Allocator>
std::uint64_t ChangeMap<Key, Value, Allocator>::hash(const Key& key, const Entry& entry) {
  std::uint64_t word;
  if constexpr (std::is_integral_v<Key>) {
    word = key;
  } else {
    EntryHasher hasher;
    hash_field(hasher, key);
    word = hasher.finish();
  }
  return mixed(word + kGolden * (std::uint64_t{entry.removed} << 16 | entry.added));
}

template <class Key, class Value, template <class> class Allocator>
void ChangeMap<Key, Value, Allocator>::compose(Entry& low, const Entry& high) {
  const std::uint32_t gone = std::min(low.added, high.removed);
  low.removed = saturated(low.removed + (high.removed - gone));
  low.added = saturated(high.added + (low.added - gone));
  if (!low.value.known()) low.value = high.value;
}

template <class Key, class Value, template <class> class Allocator>
void ChangeMap<Key, Value, Allocator>::count(const Key& key, const Entry& entry) {
  if (entry.vacant()) return;
  sum_ += hash(key, entry);
  present_ += entry.present();
  unknown_ += entry.present() && !entry.visible();
}

template <class Key, class Value, template <class> class Allocator>
void ChangeMap<Key, Value, Allocator>::discount(const Key& key, const Entry& entry) {
  if (entry.vacant()) return;
  sum_ -= hash(key, entry);
  present_ -= entry.present();
  unknown_ -= entry.present() && !entry.visible();
}

template <class Key, class Value, template <class> class Allocator>
template <class Alter, class Observer>
void ChangeMap<Key, Value, Allocator>::update(const Key& key, Observer& observer, Alter&& alter) {
  entries_.update(key, [&](Entry& entry) {
    const bool was_visible = entry.visible();
    discount(key, entry);
    alter(entry);
    if (complete()) entry.removed = 0;
    count(key, entry);
    if (entry.visible() == was_visible) return;
    if (was_visible) {
      observer.vanished(key, entry.value);
    } else {
      observer.appeared(key, entry.value);
    }
  });
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
void ChangeMap<Key, Value, Allocator>::clear(Observer& observer) {
  for_each([&](const Key& key, const Entry& entry) {
    if (entry.visible()) observer.vanished(key, entry.value);
  });
  const Version end = end_;
  *this = ChangeMap{};
  end_ = end;
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
void ChangeMap<Key, Value, Allocator>::apply(const Change& change, Observer& observer) {
  switch (change.kind) {
    case Kind::add:
      update(change.key, observer, [&](Entry& entry) {
        compose(entry, Entry{change.value, 0, 1});
      });
      break;
    case Kind::remove:
      update(change.key, observer, [&](Entry& entry) { compose(entry, Entry{Value{}, 1, 0}); });
      break;
    case Kind::clear:
      clear(observer);
      break;
  }
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
void ChangeMap<Key, Value, Allocator>::announce(const Change& change, Observer& observer) const {
  if (change.kind == Kind::add) {
    if (change.value.known()) observer.soon(change.key, change.value);
  } else if (change.kind == Kind::remove) {
    const Entry* const held = find(change.key);
    if (held != nullptr && held->visible()) observer.soon(change.key, held->value);
  }
}

template <class Key, class Value, template <class> class Allocator>
auto ChangeMap<Key, Value, Allocator>::after(Version base) -> ChangeMap {
  ChangeMap result;
  result.base_ = result.end_ = base;
  return result;
}

template <class Key, class Value, template <class> class Allocator>
auto ChangeMap<Key, Value, Allocator>::restore(Version base, Version end,
                                               std::span<const std::pair<Key, Entry>> entries)
    -> std::optional<ChangeMap> {
  if (end < base || (base == end && !entries.empty())) return std::nullopt;
  ChangeMap result = after(base);
  result.end_ = end;
  result.reserve(entries.size() + entries.size() / 16);  // more will come
  for (const auto& [key, entry] : entries) {
    const bool removes_of_all = result.complete() && entry.removed > 0;
    if (entry.vacant() || removes_of_all) return std::nullopt;
    if (!result.entries_.insert(key, entry)) return std::nullopt;
    result.count(key, entry);
  }
  return result;
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
Applied ChangeMap<Key, Value, Allocator>::apply(Version from, Version to,
                                                std::span<const Change> changes,
                                                Observer&& observer) {
  if (to < from) return Applied::malformed;
  if (to <= end_) return Applied::duplicate;
  if (from != end_) return Applied::gap;
  constexpr std::size_t kAhead = 8;  // enough to hide a cache miss
  const auto at = [&](std::size_t i, auto&& what) {
    if (i < changes.size()) what(changes[i]);  // unsigned: not before the first either
  };
  for (std::size_t i = 0; i < changes.size() + 3 * kAhead; ++i) {
    at(i, [&](const Change& change) { entries_.prefetch(change.key); });
    at(i - kAhead, [&](const Change& change) { entries_.prefetch_entry(change.key); });
    at(i - 2 * kAhead, [&](const Change& change) { announce(change, observer); });
    at(i - 3 * kAhead, [&](const Change& change) { apply(change, observer); });
  }
  end_ = to;
  return Applied::changed;
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
bool ChangeMap<Key, Value, Allocator>::learn(const ChangeMap& other, Observer& observer) {
  const std::size_t unknown = unknown_;
  if (unknown == 0) return false;
  other.for_each([&](const Key& key, const Entry& theirs) {
    if (!theirs.value.known()) return;
    const Entry* const ours = find(key);
    if (ours == nullptr || ours->value.known()) return;
    update(key, observer, [&](Entry& entry) { entry.value = theirs.value; });
  });
  return unknown_ != unknown;
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
void ChangeMap<Key, Value, Allocator>::replace(ChangeMap&& other, Observer& observer) {
  NoObserver nobody;
  other.learn(*this, nobody);
  for_each([&](const Key& key, const Entry& ours) {
    const Entry* const theirs = ours.visible() ? other.find(key) : &ours;
    if (theirs == nullptr || !theirs->visible()) {
      if (ours.visible()) observer.vanished(key, ours.value);
    }
  });
  const auto appears = [&](const Key& key, const Entry& theirs) {
    if (!theirs.visible()) return;
    const Entry* const ours = find(key);
    if (ours == nullptr || !ours->visible()) observer.appeared(key, theirs.value);
  };
  const auto foresee = [&](const Key& key, const Entry& theirs) {
    if (theirs.visible()) observer.soon(key, theirs.value);
  };
  other.entries_.for_each(appears, foresee);
  *this = std::move(other);
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
void ChangeMap<Key, Value, Allocator>::lay_over(const ChangeMap& high, Observer& observer) {
  high.for_each([&](const Key& key, const Entry& theirs) {
    update(key, observer, [&](Entry& entry) { compose(entry, theirs); });
  });
  end_ = high.end_;
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
void ChangeMap<Key, Value, Allocator>::lay_under(const ChangeMap& low, Observer& observer) {
  low.for_each([&](const Key& key, const Entry& theirs) {
    update(key, observer, [&](Entry& entry) {
      Entry both = theirs;
      compose(both, entry);
      entry = both;
    });
  });
  base_ = low.base_;
  if (!complete()) return;
  entries_.update_all([&](const Key& key, Entry& entry) {
    if (entry.removed == 0) return;
    discount(key, entry);
    entry.removed = 0;
    count(key, entry);
  });
}

template <class Key, class Value, template <class> class Allocator>
template <class Observer>
bool ChangeMap<Key, Value, Allocator>::join(ChangeMap&& other, Observer&& observer) {
  if (other.inside(*this)) return learn(other, observer);
  if (inside(other)) {
    replace(std::move(other), observer);
  } else if (other.base_ == end_) {
    lay_over(other, observer);
  } else if (other.end_ == base_) {
    lay_under(other, observer);
  } else if (other.end_ > end_) {
    replace(std::move(other), observer);
  } else {
    return learn(other, observer);
  }
  return true;
}

template <class Key, class Value, template <class> class Allocator>
bool ChangeMap<Key, Value, Allocator>::operator==(const ChangeMap& other) const {
  if (base_ != other.base_ || end_ != other.end_ || size() != other.size()) return false;
  bool equal = true;
  for_each([&](const Key& key, const Entry& ours) {
    const Entry* const theirs = other.find(key);
    equal = equal && theirs != nullptr && ours.removed == theirs->removed &&
            ours.added == theirs->added &&
            (ours.value == theirs->value || !ours.value.known() || !theirs->value.known());
  });
  return equal;
}

}  // namespace dualmesh::crdt
