// Who wrote something, in which life, and how far: the numbers every replicated type is built on.
//
// A Version orders the changes of one writer within one Epoch; an Epoch is one life of a process;
// an Origin names that life mesh-wide. They are distinct types so that an epoch cannot be compared
// with a version by accident.
//
// Invariant: no (NodeId, Epoch, Version) is ever issued twice, restarts included.
// Threads: values; no sharing concerns.
// Source: Cassandra's endpoint generation, Redpanda's raft::vnode (one incarnation as a type).
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace dualmesh::crdt {

// A 64-bit number with a meaning of its own. `Tag` is never defined.
template <class Tag>
struct Number {
  std::uint64_t value = 0;

  auto operator<=>(const Number&) const = default;
  Number next() const { return Number{value + 1}; }
};

using NodeId = Number<struct NodeIdTag>;  // hash of the configured node name; stable over restarts
using Epoch = Number<struct EpochTag>;    // milliseconds at start, raised above any known epoch
using Version = Number<struct VersionTag>;  // +1 per change; 0 = nothing yet

struct Origin {
  NodeId node;
  Epoch epoch;

  auto operator<=>(const Origin&) const = default;
};

template <class Tag>
std::size_t hash_value(Number<Tag> n) {  // found by boost::hash
  return std::hash<std::uint64_t>{}(n.value);
}

}  // namespace dualmesh::crdt

template <class Tag>
struct std::hash<dualmesh::crdt::Number<Tag>> {
  std::size_t operator()(dualmesh::crdt::Number<Tag> n) const {
    return std::hash<std::uint64_t>{}(n.value);
  }
};
