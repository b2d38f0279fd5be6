// FlatTable: a hash table in one array, for millions of small entries that are read and changed at
// the speed of memory.
//
// Open addressing in groups of 56 places with a line in front that has a byte of each one's hash,
// so that what is not held costs one cache line and what is held two; large groups seldom overflow,
// also after long use. A group counts the entries that found it full and went on to the next, in
// eight classes by their hash: where none of a class did, a search for it ends, so removals leave
// no marks. What standard and Boost tables lack: `prefetch` in two steps, by which the cache misses
// of a batch overlap, growth by a quarter, so that little of a table is empty, and an order by
// which part of it can be visited.
//
// Invariant: an entry is in the group of its home, or in a later one after full groups that each
// counted it. At most 5/6 of the places are taken. Growth moves all at once, nearly in order, 5 ns
// an entry. Threads: none. Pointers are good until the next insertion, removal or growth. Source:
// Swiss tables (Abseil) and F14 (Folly) for tags and counts; multiplicative hashing (Knuth).
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>
#include <boost/assert.hpp>
#include <boost/container_hash/hash.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dualmesh::crdt {

// Entries lie in the table nearly in the order of these.
template <class Key>
std::uint64_t table_order(const Key& key) {
  return boost::hash<Key>{}(key)*0x9e3779b97f4a7c15ULL;
}

template <class Key, class Mapped, template <class> class Allocator = std::allocator>
class FlatTable {
 public:
  using Entry = std::pair<Key, Mapped>;

  Mapped* find(const Key& key) {
    const Place found = search(key);
    return found.group != nullptr ? &found.entry().second : nullptr;
  }
  const Mapped* find(const Key& key) const { return const_cast<FlatTable*>(this)->find(key); }
  // Hints that `key` is searched or changed soon: first what says where it is, and once that has
  // come, where it is. Inlined by force: g++ drops calls of functions that do nothing but prefetch.
  [[gnu::always_inline]] void prefetch(const Key& key) const {
    if (!groups_.empty()) __builtin_prefetch(&groups_[home(table_order(key))]);
  }
  [[gnu::always_inline]] void prefetch_entry(const Key& key) const {
    if (groups_.empty()) return;
    const std::uint64_t order = table_order(key);
    const std::size_t at = home(order);
    const Group& group = groups_[at];
    std::uint64_t places = group.matches(tag_of(order));
    if (places == 0) {  // later, or nowhere
      if (group.gone_past[class_of(order)] != 0) __builtin_prefetch(&groups_[next(at)]);
      places = group.free() & -group.free();
    }
    for (; places != 0; places &= places - 1) {
      const auto* const entry =
          reinterpret_cast<const char*>(&group.entries[std::countr_zero(places)]);
      __builtin_prefetch(entry);
      __builtin_prefetch(entry + sizeof(Entry) - 1);
    }
  }
  // `mapped` is not vacant. False, and nothing changes, if `key` is held.
  bool insert(const Key& key, const Mapped& mapped);
  // change(Mapped&): given what is held, or a vacant one; what it leaves vacant is not held.
  template <class Change>
  void update(const Key& key, Change&& change);
  template <class Visit>  // visit(key, mapped), in unspecified order
  void for_each(Visit&& visit) const {
    for_each(visit, [](const Key&, const Mapped&) {});
  }
  // The same, and soon(key, mapped) of each a few entries before: to prefetch what its visit needs.
  template <class Visit, class Soon>
  void for_each(Visit&& visit, Soon&& soon) const;
  // Those whose table_order is within: O(how many) where that is a small part of all.
  template <class Visit>  // visit(key, mapped)
  void for_each_between(std::uint64_t lowest, std::uint64_t highest, Visit&& visit) const;
  // change(key, mapped) of each; what it leaves vacant is not held.
  template <class Change>
  void update_all(Change&& change);

  void reserve(std::size_t entries) {
    if (entries > most()) grow(entries * 6 / (5 * kPlaces) + 1);
  }
  void clear() { *this = FlatTable{}; }
  std::size_t size() const { return size_; }
  std::size_t memory_bytes() const { return groups_.capacity() * sizeof(Group); }

 private:
  static constexpr std::size_t kPlaces = 56, kClasses = 8;
  static constexpr std::uint64_t kAllPlaces = (std::uint64_t{1} << kPlaces) - 1;
  static constexpr std::uint8_t kUncounted = 0xff;  // there it stays: the true count is not known

  struct alignas(64) Group {
    std::array<std::uint8_t, kPlaces> tags{};        // 0: free
    std::array<std::uint8_t, kClasses> gone_past{};  // entries of a class in later groups
    std::array<Entry, kPlaces> entries{};

    // A bit for each place with this tag.
    std::uint64_t matches(std::uint8_t tag) const;
    std::uint64_t free() const { return matches(0); }
    // visit(index) of each place taken
    void visit(auto&& visitor) const {
      for (std::uint64_t left = ~free() & kAllPlaces; left != 0; left &= left - 1) {
        visitor(static_cast<std::size_t>(std::countr_zero(left)));
      }
    }
  };
  struct Place {
    Group* group = nullptr;  // null: not held
    std::size_t index = 0;
    Entry& entry() const { return group->entries[index]; }
  };

  // Home takes the leading bits of the order; these the next that are good.
  static std::uint8_t tag_of(std::uint64_t order) {  // never 0
    return static_cast<std::uint8_t>((order >> 24 & 0xff) * 255 / 256 + 1);
  }
  static std::size_t class_of(std::uint64_t order) { return order >> 21 & (kClasses - 1); }
  std::size_t most() const { return groups_.size() * kPlaces * 5 / 6; }
  std::size_t home(std::uint64_t order) const {
    return static_cast<std::size_t>((order >> 32) * groups_.size() >> 32);
  }
  std::size_t next(std::size_t at) const { return ++at == groups_.size() ? 0 : at; }
  Place search(const Key& key);
  void put(const Key& key, const Mapped& mapped);  // there is room
  void erase(const Place& place);
  void grow(std::size_t groups);
  void make_room() {
    if (size_ >= most()) grow(groups_.size() + groups_.size() / 4 + 1);
  }

  using Groups = std::vector<Group, Allocator<Group>>;
  Groups groups_;
  std::size_t size_ = 0;
};

template <class Key, class Mapped, template <class> class Allocator>
std::uint64_t FlatTable<Key, Mapped, Allocator>::Group::matches(std::uint8_t tag) const {
#ifdef __SSE2__
  const auto* const line = reinterpret_cast<const __m128i*>(this);  // the counters are masked out
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(tag));
  const auto part = [&](int number) {
    const __m128i same = _mm_cmpeq_epi8(_mm_load_si128(line + number), wanted);
    return std::uint64_t{static_cast<std::uint32_t>(_mm_movemask_epi8(same))} << 16 * number;
  };
  const std::uint64_t found = part(0) | part(1) | part(2) | part(3);
#else
  std::uint64_t found = 0;
  for (std::size_t index = 0; index < kPlaces; ++index) {
    found |= static_cast<std::uint64_t>(tags[index] == tag) << index;
  }
#endif
  return found & kAllPlaces;
}

template <class Key, class Mapped, template <class> class Allocator>
auto FlatTable<Key, Mapped, Allocator>::search(const Key& key) -> Place {
  if (groups_.empty()) return {};
  const std::uint64_t order = table_order(key);
  std::size_t at = home(order);
  for (std::size_t searched = 0; searched < groups_.size(); ++searched, at = next(at)) {
    Group& group = groups_[at];
    for (std::uint64_t left = group.matches(tag_of(order)); left != 0; left &= left - 1) {
      const auto index = static_cast<std::size_t>(std::countr_zero(left));
      if (group.entries[index].first == key) return {&group, index};
    }
    if (group.gone_past[class_of(order)] == 0) return {};
  }
  return {};
}

template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::put(const Key& key, const Mapped& mapped) {
  const std::uint64_t order = table_order(key);
  std::size_t at = home(order);
  std::uint64_t free = groups_[at].free();
  for (; free == 0; free = groups_[at].free()) {
    std::uint8_t& gone_past = groups_[at].gone_past[class_of(order)];
    if (gone_past != kUncounted) ++gone_past;
    at = next(at);
  }
  const auto index = static_cast<std::size_t>(std::countr_zero(free));
  groups_[at].tags[index] = tag_of(order);
  groups_[at].entries[index] = Entry{key, mapped};
  ++size_;
}

template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::erase(const Place& place) {
  const std::uint64_t order = table_order(place.entry().first);
  for (std::size_t at = home(order); &groups_[at] != place.group; at = next(at)) {
    std::uint8_t& gone_past = groups_[at].gone_past[class_of(order)];
    if (gone_past != kUncounted) --gone_past;
  }
  place.entry() = Entry{};
  place.group->tags[place.index] = 0;
  --size_;
}

template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::grow(std::size_t groups) {
  BOOST_ASSERT(groups >> 32 == 0);
  Groups old(groups);
  old.swap(groups_);
  size_ = 0;
  for (const Group& group : old) {
    group.visit([&](std::size_t i) { put(group.entries[i].first, group.entries[i].second); });
  }
}

template <class Key, class Mapped, template <class> class Allocator>
bool FlatTable<Key, Mapped, Allocator>::insert(const Key& key, const Mapped& mapped) {
  BOOST_ASSERT(!mapped.vacant());
  if (search(key).group != nullptr) return false;
  make_room();
  put(key, mapped);
  return true;
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Change>
void FlatTable<Key, Mapped, Allocator>::update(const Key& key, Change&& change) {
  if (const Place found = search(key); found.group != nullptr) {
    Mapped& mapped = found.entry().second;
    change(mapped);
    if (mapped.vacant()) erase(found);
    return;
  }
  Mapped mapped{};
  change(mapped);
  if (mapped.vacant()) return;
  make_room();
  put(key, mapped);
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Visit, class Soon>
void FlatTable<Key, Mapped, Allocator>::for_each(Visit&& visit, Soon&& soon) const {
  for (std::size_t at = 0; at <= groups_.size(); ++at) {  // a group ahead
    if (at < groups_.size()) {
      const Group& group = groups_[at];
      group.visit([&](std::size_t i) { soon(group.entries[i].first, group.entries[i].second); });
    }
    if (at == 0) continue;
    const Group& group = groups_[at - 1];
    group.visit([&](std::size_t i) { visit(group.entries[i].first, group.entries[i].second); });
  }
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Visit>
void FlatTable<Key, Mapped, Allocator>::for_each_between(std::uint64_t lowest,
                                                         std::uint64_t highest,
                                                         Visit&& visit) const {
  if (groups_.empty()) return;
  constexpr std::array<std::uint8_t, kClasses> kNone{};
  const std::size_t span = home(highest) - home(lowest);
  std::size_t at = home(lowest);
  for (std::size_t travelled = 0; travelled < groups_.size(); ++travelled, at = next(at)) {
    const Group& group = groups_[at];
    group.visit([&](std::size_t i) {
      const std::uint64_t order = table_order(group.entries[i].first);
      if (lowest <= order && order <= highest)
        visit(group.entries[i].first, group.entries[i].second);
    });
    if (travelled >= span && group.gone_past == kNone) return;
  }
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Change>
void FlatTable<Key, Mapped, Allocator>::update_all(Change&& change) {
  for (Group& group : groups_) {
    group.visit([&](std::size_t i) {
      change(std::as_const(group.entries[i].first), group.entries[i].second);
      if (group.entries[i].second.vacant()) erase({&group, i});
    });
  }
}

}  // namespace dualmesh::crdt
