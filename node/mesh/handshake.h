// The handshake: what a node says when it dials, and whether the dialled one takes it in.
//
// Parameters that decide where a request goes (ring block, seeds, ring points) must be equal on all
// nodes of one ring generation, or their rings would silently differ; those of two generations meet
// (ring_generation.h). Cluster name and protocol version must be equal. A name belongs to one
// living node; the node id is its hash, and over TLS the certificate must bear it.
//
// Threads: pure functions.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "net/error.h"
#include "net/mesh.capnp.h"
#include "net/mesh_identity.h"
#include "net/mesh_refusals.h"
#include "net/mesh_rows.h"
#include "node/mesh/mesh_config.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

// What a stranger says goes into logs and answers: cut to 256 bytes.
std::string cut_text(std::string_view text);

void write_hello(const SharedState& state, const MeshConfig& config, std::uint64_t wall_ms,
                 wire::Hello::Builder out);

struct HelloVerdict {
  bool accepted = false;
  net::Refusal reason = net::Refusal::unreadable;  // when not accepted
  bool is_self = false;                            // the caller is this very process
  std::string refusal;                             // empty when accepted
  crdt::NodeId node;
  crdt::Member from;        // when it could be read
  crdt::Epoch known_epoch;  // the highest we know for the caller
};

// An error unless name and node id belong together and, over TLS, the certificate names this node.
// `identity` is null without TLS.
net::Result<void> check_identity(const crdt::Member& member, crdt::NodeId node,
                                 const net::PeerIdentity* identity);

// `heard_lately(node)`: we have heard from that node within the last second.
HelloVerdict judge_hello(wire::Hello::Reader hello, const SharedState& state,
                         const MeshConfig& config, std::uint64_t wall_ms,
                         const std::function<bool(crdt::NodeId)>& heard_lately,
                         const net::PeerIdentity* identity);

// Of a life that cannot have begun. Our own clock may be far behind, as long as the peer's is not:
// a life of ours that it knows began by a clock like its own. Empty: neither.
std::string absurd_epoch(wire::Welcome::Reader welcome, const crdt::Member& from,
                         std::uint64_t wall_ms);

}  // namespace dualmesh::node
