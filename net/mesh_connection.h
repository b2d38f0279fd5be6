// One Cap'n Proto conversation over one byte stream, with the mesh's limits on what a peer may
// send.
//
// TwoPartyServer and EzRpc hide the reader limits, so connections are built from the vat network: 1
// Mi words (8 MiB) per message, 16 levels of pointers; larger things travel in pieces.
//
// Threads: kj; created, used and destroyed on one thread.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include <cstdint>

#include "net/mesh_identity.h"

namespace dualmesh::net {

struct MessageLimits {
  std::uint64_t words = 1 << 20;
  int nesting = 16;
};

class MeshConnection {
 public:
  // The dialling side.
  explicit MeshConnection(kj::Own<kj::AsyncIoStream> stream,
                          MessageLimits limits = MessageLimits());
  // The accepting side, which offers `bootstrap`.
  MeshConnection(kj::Own<kj::AsyncIoStream> stream, capnp::Capability::Client bootstrap);

  capnp::Capability::Client bootstrap();
  // Of the other side; null without TLS.
  const PeerIdentity* identity() const { return identity_of(*stream_); }
  kj::Promise<void> on_disconnect() { return network_.onDisconnect(); }

 private:
  kj::Own<kj::AsyncIoStream> stream_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

}  // namespace dualmesh::net
