// The serving side of the mesh RPC: Bootstrap for whoever connects, Peer for accepted nodes.
//
// Threads: kj; the mesh thread's. The node outlives every service: its acceptor dies first.
#pragma once

#include <memory>

#include "net/mesh.capnp.h"
#include "net/mesh_acceptor.h"

namespace dualmesh::node {

class MeshNode;

// `caller` is the connection that gets it.
wire::Bootstrap::Client make_bootstrap_service(MeshNode& node,
                                               std::shared_ptr<net::IncomingPeer> caller);

}  // namespace dualmesh::node
