// The laws of a join-semilattice, asserted inside RapidCheck properties.
#pragma once

#include <rapidcheck.h>

#include <array>
#include <cstdint>
#include <vector>

#include "crdt/state_digest.h"

namespace dualmesh::crdt {

// A step of a random history: the test gives the bytes their meaning. Shrinks to short histories.
using Steps = std::vector<std::array<std::uint8_t, 4>>;

template <class Lattice>
Lattice joined(Lattice a, const Lattice& b) {
  a.join(b);
  return a;
}

// The digest of a type that is one value: equal exactly when the states are.
template <class State>
std::uint64_t hash_of_state(const State& state) {
  EntryHasher hasher;
  hash_field(hasher, state);
  return hasher.finish();
}

template <class Lattice>
void assert_lattice_laws(const Lattice& a, const Lattice& b, const Lattice& c) {
  const Lattice ab = joined(a, b);
  RC_ASSERT(joined(a, a) == a);                         // idempotent
  RC_ASSERT(ab == joined(b, a));                        // commutative
  RC_ASSERT(joined(ab, c) == joined(a, joined(b, c)));  // associative
  RC_ASSERT(joined(ab, a) == ab);                       // monotone: ab >= a
  RC_ASSERT(joined(ab, b) == ab);                       // and ab >= b
  Lattice grown = a;
  RC_ASSERT(grown.join(b) == !(ab == a));  // join says truly whether it grew
}

}  // namespace dualmesh::crdt
