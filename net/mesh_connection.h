// One Cap'n Proto conversation over one byte stream, with the mesh's limits on what a peer may
// send.
//
//   stream -> FrameGuard (sizes) -> MeshMessages (rates, unfinished calls) -> vat network -> RPC
//
// TwoPartyServer and EzRpc hide all of this, so connections are built from the vat network: 1 Mi
// words (8 MiB) per message, 16 levels of pointers; larger things travel in pieces. A caller that
// has not been accepted yet gets a small share of it (`greeting`). Calls not answered yet are
// bounded by bytes (the flow limit), answers not finished by number; whoever was dialled is offered
// nothing and may ask next to nothing.
//
// Threads: kj; created, used and destroyed on one thread.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include <cstdint>

#include "net/mesh_frame_guard.h"
#include "net/mesh_identity.h"
#include "net/mesh_messages.h"

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
  // The accepting side, which offers `bootstrap`; under the limits for strangers until `greeted`.
  MeshConnection(kj::Own<kj::AsyncIoStream> stream, capnp::Capability::Client bootstrap);
  void pace(kj::Timer& timer, const PeerRates& rates, std::uint64_t& throttled) {
    messages_.pace(timer, rates, throttled);
  }
  void greeted();
  std::uint64_t bytes_read() const { return guard_.bytes_read(); }
  bool over_rate() const { return messages_.over_rate(); }

  capnp::Capability::Client bootstrap();
  // Of the other side; null without TLS.
  const PeerIdentity* identity() const { return identity_of(*stream_); }
  kj::Promise<void> on_disconnect() { return network_.onDisconnect(); }
  // Why this side has ended the conversation; empty if it has not.
  Violation violation() const;

 private:
  kj::Own<kj::AsyncIoStream> stream_;
  FrameGuard guard_;
  MeshMessages messages_;
  capnp::TwoPartyVatNetwork network_;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> rpc_;
};

}  // namespace dualmesh::net
