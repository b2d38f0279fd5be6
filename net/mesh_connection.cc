#include "net/mesh_connection.h"

#include <capnp/message.h>

namespace dualmesh::net {
namespace {

capnp::ReaderOptions reader_options(MessageLimits limits) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = limits.words;
  options.nestingLimit = limits.nesting;
  return options;
}

}  // namespace

MeshConnection::MeshConnection(kj::Own<kj::AsyncIoStream> stream, MessageLimits limits)
    : stream_(kj::mv(stream)),
      network_(*stream_, capnp::rpc::twoparty::Side::CLIENT, reader_options(limits)),
      rpc_(capnp::makeRpcClient(network_)) {}

MeshConnection::MeshConnection(kj::Own<kj::AsyncIoStream> stream,
                               capnp::Capability::Client bootstrap)
    : stream_(kj::mv(stream)),
      network_(*stream_, capnp::rpc::twoparty::Side::SERVER, reader_options(MessageLimits())),
      rpc_(capnp::makeRpcServer(network_, kj::mv(bootstrap))) {}

capnp::Capability::Client MeshConnection::bootstrap() {
  capnp::MallocMessageBuilder message(4);
  auto vat = message.initRoot<capnp::rpc::twoparty::VatId>();
  vat.setSide(capnp::rpc::twoparty::Side::SERVER);
  return rpc_.bootstrap(vat);
}

}  // namespace dualmesh::net
