// FlatTable: a hash table in one array, for millions of small entries that are read and changed at
// the speed of memory.
//
// Open addressing with linear probing in robin-hood order: whoever is further from home goes first,
// so a search that fails ends early, and growing copies one array into the other nearly in order.
// What standard and Boost tables lack: `prefetch`, by which the cache misses of a batch overlap,
// and growth by a quarter, so that no moment takes twice the memory.
//
// Invariant: a place is free exactly when its `Mapped` is vacant(), as a default one is. At most
// 4/5 of the places are taken. Cost: one cache miss, seldom two; growth moves all at once, 5 ns an
// entry. Threads: none. Pointers are good until the next insertion or removal. Source: robin-hood
// hashing (Celis 1986), removal by shifting back; multiplicative hashing (Knuth).
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container_hash/hash.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dualmesh::crdt {

// Entries lie in the table in the order of these.
template <class Key>
std::uint64_t table_order(const Key& key) {
  return boost::hash<Key>{}(key)*0x9e3779b97f4a7c15ULL;
}

template <class Key, class Mapped, template <class> class Allocator = std::allocator>
class FlatTable {
 public:
  using Entry = std::pair<Key, Mapped>;

  Mapped* find(const Key& key) {
    const Search found = search(key);
    return found.exists ? &places_[found.place].second : nullptr;
  }
  const Mapped* find(const Key& key) const { return const_cast<FlatTable*>(this)->find(key); }
  // Inlined by force: g++ drops calls of functions that do nothing but prefetch.
  [[gnu::always_inline]] void prefetch(const Key& key) const {
    if (places_.empty()) return;
    const char* const first = reinterpret_cast<const char*>(&places_[home(key)]);
    __builtin_prefetch(first, 1);
    __builtin_prefetch(first + kCacheLineBytes, 1);
  }
  // `mapped` is not vacant; `key` is not held.
  void insert(const Key& key, const Mapped& mapped);
  // change(Mapped&): given what is held, or a vacant one; what it leaves vacant is not held.
  template <class Change>
  void update(const Key& key, Change&& change);
  template <class Visit>  // visit(key, mapped), in unspecified order
  void for_each(Visit&& visit) const;
  // Those whose table_order is within: O(how many) where that is a small part of all.
  template <class Visit>  // visit(key, mapped)
  void for_each_between(std::uint64_t lowest, std::uint64_t highest, Visit&& visit) const;
  // change(key, mapped) of each; what it leaves vacant is not held.
  template <class Change>
  void update_all(Change&& change);

  void reserve(std::size_t entries) {
    if (entries > most()) grow(entries + entries / 4 + 1);
  }
  void clear() { *this = FlatTable{}; }
  std::size_t size() const { return size_; }
  std::size_t memory_bytes() const { return places_.capacity() * sizeof(Entry); }

 private:
  struct Search {
    std::size_t place;  // of the key, or where it belongs
    bool exists;
  };
  static constexpr std::size_t kCacheLineBytes = 64;
  static constexpr std::size_t kFewest = 16;

  std::size_t most() const { return places_.size() / 5 * 4; }
  std::size_t home_of(std::uint64_t order) const {
    return static_cast<std::size_t>((order >> 32) * places_.size() >> 32);
  }
  std::size_t home(const Key& key) const { return home_of(table_order(key)); }
  std::size_t next(std::size_t place) const { return ++place == places_.size() ? 0 : place; }
  std::size_t distance(std::size_t place) const {  // from home
    const std::size_t from = home(places_[place].first);
    return place >= from ? place - from : place + places_.size() - from;
  }
  Search search(const Key& key) const;
  void put(std::size_t place, Entry&& entry);
  void erase(std::size_t place);
  void grow(std::size_t places);

  using Places = std::vector<Entry, Allocator<Entry>>;
  Places places_;
  std::size_t size_ = 0;
};

template <class Key, class Mapped, template <class> class Allocator>
auto FlatTable<Key, Mapped, Allocator>::search(const Key& key) const -> Search {
  if (places_.empty()) return {0, false};
  std::size_t place = home(key);
  for (std::size_t travelled = 0;; place = next(place), ++travelled) {
    const Entry& there = places_[place];
    if (there.second.vacant()) return {place, false};
    if (there.first == key) return {place, true};
    if (travelled > 0 && distance(place) < travelled) return {place, false};
  }
}

// Whoever is there, and those behind up to the next free place, move up by one.
template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::put(std::size_t place, Entry&& entry) {
  std::size_t free = place;
  while (!places_[free].second.vacant()) free = next(free);
  while (free != place) {
    const std::size_t before = free == 0 ? places_.size() - 1 : free - 1;
    places_[free] = std::move(places_[before]);
    free = before;
  }
  places_[place] = std::move(entry);
  ++size_;
}

template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::erase(std::size_t place) {
  for (std::size_t behind = next(place); !places_[behind].second.vacant() && distance(behind) > 0;
       behind = next(behind)) {
    places_[place] = std::move(places_[behind]);
    place = behind;
  }
  places_[place] = Entry{};
  --size_;
}

template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::grow(std::size_t places) {
  BOOST_ASSERT(places >> 32 == 0);
  Places old(std::max(places, kFewest));
  old.swap(places_);
  size_ = 0;
  for (Entry& entry : old) {
    if (!entry.second.vacant()) put(search(entry.first).place, std::move(entry));
  }
}

template <class Key, class Mapped, template <class> class Allocator>
void FlatTable<Key, Mapped, Allocator>::insert(const Key& key, const Mapped& mapped) {
  BOOST_ASSERT(!mapped.vacant());
  if (size_ >= most()) grow(places_.size() + places_.size() / 4);
  const Search found = search(key);
  BOOST_ASSERT(!found.exists);
  put(found.place, Entry{key, mapped});
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Change>
void FlatTable<Key, Mapped, Allocator>::update(const Key& key, Change&& change) {
  Search found = search(key);
  if (found.exists) {
    Mapped& mapped = places_[found.place].second;
    change(mapped);
    if (mapped.vacant()) erase(found.place);
    return;
  }
  Mapped mapped{};
  change(mapped);
  if (mapped.vacant()) return;
  if (size_ >= most()) {
    grow(places_.size() + places_.size() / 4);
    found = search(key);
  }
  put(found.place, Entry{key, mapped});
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Visit>
void FlatTable<Key, Mapped, Allocator>::for_each(Visit&& visit) const {
  for (const Entry& entry : places_) {
    if (!entry.second.vacant()) visit(entry.first, entry.second);
  }
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Visit>
void FlatTable<Key, Mapped, Allocator>::for_each_between(std::uint64_t lowest,
                                                         std::uint64_t highest,
                                                         Visit&& visit) const {
  if (places_.empty()) return;
  const std::size_t span = home_of(highest) - home_of(lowest);
  std::size_t place = home_of(lowest);
  for (std::size_t travelled = 0; travelled < places_.size(); ++travelled, place = next(place)) {
    const Entry& there = places_[place];
    if (there.second.vacant()) {
      if (travelled >= span) return;
      continue;
    }
    if (travelled > span + distance(place)) return;  // at home beyond `highest`
    const std::uint64_t order = table_order(there.first);
    if (lowest <= order && order <= highest) visit(there.first, there.second);
  }
}

template <class Key, class Mapped, template <class> class Allocator>
template <class Change>
void FlatTable<Key, Mapped, Allocator>::update_all(Change&& change) {
  FlatTable rest;
  rest.reserve(size_);
  for (Entry& entry : places_) {
    if (entry.second.vacant()) continue;
    change(std::as_const(entry.first), entry.second);
    if (!entry.second.vacant()) rest.insert(entry.first, entry.second);
  }
  *this = std::move(rest);
}

}  // namespace dualmesh::crdt
