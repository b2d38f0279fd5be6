// OrSet: a set to which many add and from which many remove; where both happen at once, the add
// wins.
//
// State: element -> the dots of its adds (crdt/dot_store.h), and the context of all dots seen. An
// add replaces the dots it has seen by one of its own; a removal takes away just the dots that it
// has seen, so an add that it could not see stays.
//
// Invariant, merge: those of dot stores; an element is in the set while it has a dot. There are no
// tombstones: what is removed leaves nothing but the context, which compacts. Mutators return
// deltas of one element, which may be joined in any order, repeated, or joined into each other
// first: their contexts name exactly the dots concerned, so a gap stays a gap. Cost: mutators O(n)
// for joining the delta in; memory 24 bytes per dot (one per element unless adds were concurrent)
// plus the context. Threads: none; values. Source: Bieniusa et al. 2012, "An optimized
// conflict-free replicated set" (ORSWOT), in the delta form of Almeida et al. 2018.
#pragma once

#include "crdt/dot_store.h"

namespace dualmesh::crdt {

template <class T>
class OrSet {
 public:
  using Store = DotMap<T, DotSet>;
  using State = Causal<Store>;

  // Mutators of a bare store, for sets inside of maps (crdt/or_map.h): the delta, not yet joined.
  static State added(const Store& store, const CausalContext& context, const Origin& self,
                     const T& element) {
    State delta = removed(store, element);
    const Dot dot = context.next(self);
    DotSet dots;
    dots.put(dot, {});
    delta.store.put(element, std::move(dots));
    delta.context.insert(dot);
    return delta;
  }
  static State removed(const Store& store, const T& element) {
    const DotSet* dots = store.find(element);
    return dots == nullptr ? State{} : removal_of<Store>(*dots);
  }

  // Each returns its delta to send. `self` is this process in this life, and no other replica's.
  OrSet add(const Origin& self, const T& element) {
    return joined_in(added(state_.store, state_.context, self, element));
  }
  OrSet remove(const T& element) { return joined_in(removed(state_.store, element)); }
  OrSet clear() { return joined_in(removal_of<Store>(state_.store)); }

  bool join(const OrSet& other) { return state_.join(other.state_); }  // true when it grew
  bool contains(const T& element) const { return state_.store.find(element) != nullptr; }
  std::size_t size() const { return state_.store.entries().size(); }
  template <class Visit>  // visit(element), in order
  void for_each(Visit&& visit) const {
    for (const auto& entry : state_.store.entries()) visit(entry.first);
  }
  const State& state() const { return state_; }
  bool operator==(const OrSet&) const = default;

 private:
  OrSet joined_in(State delta) {
    state_.join(delta);
    OrSet result;
    result.state_ = std::move(delta);
    return result;
  }

  State state_;
};

template <class T>
void hash_field(EntryHasher& hasher, const OrSet<T>& set) {
  hash_field(hasher, set.state());
}

}  // namespace dualmesh::crdt
