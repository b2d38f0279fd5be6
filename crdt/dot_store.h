// Dot stores: the shapes that add-wins types are made of, joined under causal contexts.
//
//  DotSet          dots: something is there, added by these events
//  DotFun<V>       dot -> value: what these events wrote
//  DotMap<K, S>    key -> dot store, to any depth
//  Causal<S>       a store with the context it was reached in: the replicated state, and its deltas
//
// Invariant: every dot of a store is in its context; no map holds a key whose store is empty. A dot
// in the context but not in the store was removed: nothing else is left of it. Merge: a dot on one
// side only survives if the other side has not seen it; a dot on both sides survives; a key is
// there while a dot of it is. "The key is on both sides, so it stays" would be false, since each
// side may have removed the other's dots. No side is ever taken whole for having the greater
// context. One dot never stands for two values; if a faulty writer did that all the same, the
// greater value wins everywhere. Cost: join O(n + m) store entries, contexts included; memory: what
// is there plus the context. Threads: none; values. Source: Almeida, Shoker, Baquero 2018 (arXiv
// 1603.01529), section 7; the two pitfalls are riak_dt's pull requests 82 and 78.
#pragma once

#include <algorithm>
#include <boost/container/flat_map.hpp>
#include <utility>

#include "crdt/causal_context.h"

namespace dualmesh::crdt {

template <class V>
class DotFun {
 public:
  using Entries = boost::container::flat_map<Dot, V>;

  bool empty() const { return entries_.empty(); }
  const Entries& entries() const { return entries_; }
  void put(const Dot& dot, V value) { entries_.insert_or_assign(dot, std::move(value)); }
  template <class Visit>
  void for_each_dot(Visit&& visit) const {
    for (const auto& entry : entries_) visit(entry.first);
  }
  // True when this store changed.
  bool join(const CausalContext& mine, const DotFun& other, const CausalContext& theirs) {
    bool changed = false;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      const bool removed_there =
          theirs.contains(entry->first) && !other.entries_.contains(entry->first);
      changed |= removed_there;
      entry = removed_there ? entries_.erase(entry) : entry + 1;
    }
    for (const auto& [dot, value] : other.entries_) {
      const auto held = entries_.find(dot);
      if (held == entries_.end() ? mine.contains(dot) : !(held->second < value)) continue;
      put(dot, value);
      changed = true;
    }
    return changed;
  }
  bool operator==(const DotFun&) const = default;

 private:
  Entries entries_;
};

struct Present {  // the value of a dot that needs none
  auto operator<=>(const Present&) const = default;
};
inline void hash_field(EntryHasher&, Present) {}

using DotSet = DotFun<Present>;

template <class K, class Store>
class DotMap {
 public:
  using Entries = boost::container::flat_map<K, Store>;

  bool empty() const { return entries_.empty(); }
  const Entries& entries() const { return entries_; }
  const Store* find(const K& key) const {
    const auto entry = entries_.find(key);
    return entry == entries_.end() ? nullptr : &entry->second;
  }
  void put(const K& key, Store store) {
    if (!store.empty()) entries_.insert_or_assign(key, std::move(store));
  }
  template <class Visit>
  void for_each_dot(Visit&& visit) const {
    for (const auto& entry : entries_) entry.second.for_each_dot(visit);
  }
  // True when this store changed.
  bool join(const CausalContext& mine, const DotMap& other, const CausalContext& theirs) {
    static const Store kNothing;
    bool changed = false;
    Entries joined;
    auto a = entries_.begin();
    auto b = other.entries_.begin();
    while (a != entries_.end() || b != other.entries_.end()) {
      const bool has_mine =
          b == other.entries_.end() || (a != entries_.end() && !(b->first < a->first));
      const bool has_theirs =
          a == entries_.end() || (b != other.entries_.end() && !(a->first < b->first));
      const K& key = has_mine ? a->first : b->first;
      Store store = has_mine ? std::move(a->second) : Store{};
      changed |= store.join(mine, has_theirs ? b->second : kNothing, theirs);
      if (!store.empty()) joined.emplace_hint(joined.end(), key, std::move(store));
      if (has_mine) ++a;
      if (has_theirs) ++b;
    }
    entries_ = std::move(joined);
    return changed;
  }
  bool operator==(const DotMap&) const = default;

 private:
  Entries entries_;
};

template <class Store>
struct Causal {
  Store store;
  CausalContext context;

  // True when it grew.
  bool join(const Causal& other) {
    const bool changed = store.join(context, other.store, other.context);
    return context.join(other.context) || changed;
  }
  bool operator==(const Causal&) const = default;
};

// The delta that removes all of `store` as it stands.
template <class Whole, class Store>
Causal<Whole> removal_of(const Store& store) {
  Causal<Whole> delta;
  store.for_each_dot([&](const Dot& dot) { delta.context.insert(dot); });
  return delta;
}

template <class V>
void hash_field(EntryHasher& hasher, const DotFun<V>& store) {
  hasher.add(store.entries().size());
  for (const auto& [dot, value] : store.entries()) {
    hash_field(hasher, dot);
    hash_field(hasher, value);
  }
}

template <class K, class Store>
void hash_field(EntryHasher& hasher, const DotMap<K, Store>& store) {
  hasher.add(store.entries().size());
  for (const auto& [key, nested] : store.entries()) {
    hash_field(hasher, key);
    hash_field(hasher, nested);
  }
}

template <class Store>
void hash_field(EntryHasher& hasher, const Causal<Store>& state) {
  hash_field(hasher, state.store);
  hash_field(hasher, state.context);
}

}  // namespace dualmesh::crdt
