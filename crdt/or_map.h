// OrMap: a map of replicated values to which many add and from which many remove; an update wins
// over a removal that did not see it. And RemovableCounter, the counter that may live in one.
//
// State: key -> dot store of the value (crdt/dot_store.h), and one context for the whole map. The
// value type names its Store and makes deltas of it: OrSet, RemovableCounter, OrMap itself.
//
// Invariant: a key is there while a dot of its value is; a removed key leaves nothing but the
// context. Merge: recursive, under the context of the whole; deltas in any order, as for OrSet.
// Values without dots of their own must not be nested: a plain counter that is removed and added
// again meets its older, larger self in the next merge and comes back with it. Here each addition
// has a dot, so what was removed is known to be removed.
//
// RemovableCounter keeps, per writer, one dot with what that writer has added in all; adding more
// replaces the dot. An addition that did not see a removal keeps its writer's part, earlier
// additions included: the removal wins over what it saw of the others only.
//
// Cost: update and remove O(n) for joining the delta in; memory that of the values plus one
// context. Threads: none; values. Source: Almeida, Shoker, Baquero 2018 (arXiv 1603.01529), ORMap;
// Baquero, Almeida, Lerche 2016, "The problem with embedded CRDT counters and a solution";
// riak_dt_emcntr for the resurrection.
#pragma once

#include <cstdint>
#include <utility>

#include "crdt/dot_store.h"

namespace dualmesh::crdt {

class RemovableCounter {
 public:
  using Store = DotFun<std::int64_t>;

  static Causal<Store> added(const Store& store, const CausalContext& context, const Origin& self,
                             std::int64_t amount) {
    Causal<Store> delta;
    for (const auto& [dot, part] : store.entries()) {
      if (dot.origin != self) continue;
      amount += part;
      delta.context.insert(dot);
    }
    const Dot dot = context.next(self);
    delta.store.put(dot, amount);
    delta.context.insert(dot);
    return delta;
  }
  static std::int64_t value(const Store& store) {
    std::int64_t sum = 0;
    for (const auto& entry : store.entries()) sum += entry.second;
    return sum;
  }
};

template <class Key, class Value>
class OrMap {
 public:
  using ValueStore = typename Value::Store;
  using Store = DotMap<Key, ValueStore>;
  using State = Causal<Store>;

  // Mutators of a bare store, for maps inside of maps: the delta, not yet joined.
  // `mutate(value_store, context)` returns the value's delta.
  template <class Mutate>
  static State updated(const Store& store, const CausalContext& context, const Key& key,
                       Mutate&& mutate) {
    const ValueStore* value = store.find(key);
    Causal<ValueStore> nested = mutate(value == nullptr ? ValueStore{} : *value, context);
    State delta;
    delta.store.put(key, std::move(nested.store));
    delta.context = std::move(nested.context);
    return delta;
  }
  static State removed(const Store& store, const Key& key) {
    const ValueStore* value = store.find(key);
    return value == nullptr ? State{} : removal_of<Store>(*value);
  }

  // Each returns its delta to send.
  template <class Mutate>
  OrMap update(const Key& key, Mutate&& mutate) {
    return joined_in(updated(state_.store, state_.context, key, std::forward<Mutate>(mutate)));
  }
  OrMap remove(const Key& key) { return joined_in(removed(state_.store, key)); }

  bool join(const OrMap& other) { return state_.join(other.state_); }  // true when it grew
  const ValueStore* find(const Key& key) const { return state_.store.find(key); }
  std::size_t size() const { return state_.store.entries().size(); }
  const State& state() const { return state_; }
  bool operator==(const OrMap&) const = default;

 private:
  OrMap joined_in(State delta) {
    state_.join(delta);
    OrMap result;
    result.state_ = std::move(delta);
    return result;
  }

  State state_;
};

template <class Key, class Value>
void hash_field(EntryHasher& hasher, const OrMap<Key, Value>& map) {
  hash_field(hasher, map.state());
}

}  // namespace dualmesh::crdt
