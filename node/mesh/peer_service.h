// The serving side of the mesh RPC: Bootstrap for whoever connects, Peer for accepted nodes.
//
// Threads: kj; the mesh thread's. The node outlives every service: its acceptor dies first.
#pragma once

#include "net/mesh.capnp.h"

namespace dualmesh::node {

class MeshNode;

wire::Bootstrap::Client make_bootstrap_service(MeshNode& node);

}  // namespace dualmesh::node
