// Streams by name, as nodes report them.
//
// Threads: pure functions.
#pragma once

#include "net/mesh.capnp.h"
#include "node/ctl/convergence.h"

namespace dualmesh::node::ctl {

constexpr auto kRegistry = static_cast<std::uint16_t>(wire::StreamKind::REGISTRY);
constexpr auto kLoad = static_cast<std::uint16_t>(wire::StreamKind::LOAD);

inline StreamId load_of(std::uint64_t node) { return {kLoad, node, 100 + node}; }
inline StreamId registry() { return {kRegistry, 0, 0}; }

}  // namespace dualmesh::node::ctl
