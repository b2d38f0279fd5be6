#include "net/mesh_connection.h"

#include <capnp/message.h>

namespace dualmesh::net {
namespace {

constexpr std::uint64_t kStrangerWords = 8 * 1024;  // 64 KiB
constexpr std::uint32_t kStrangerCalls = 16;
constexpr std::uint32_t kMaxUnfinished = 1'024;
constexpr std::size_t kFlowLimitWords = 64 * 1024;  // of calls not answered yet

capnp::ReaderOptions reader_options(MessageLimits limits) {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = limits.words;
  options.nestingLimit = limits.nesting;
  return options;
}

}  // namespace

MeshConnection::MeshConnection(kj::Own<kj::AsyncIoStream> stream, MessageLimits limits)
    : stream_(kj::mv(stream)),
      guard_(*stream_, limits.words),
      messages_(guard_, [this]() { return network_.getCurrentQueueSize(); }),
      network_(messages_, capnp::rpc::twoparty::Side::CLIENT, reader_options(limits)),
      rpc_(capnp::makeRpcClient(network_)) {
  messages_.set_max_unfinished(kStrangerCalls);  // it has nothing to ask of us
}

MeshConnection::MeshConnection(kj::Own<kj::AsyncIoStream> stream,
                               capnp::Capability::Client bootstrap)
    : stream_(kj::mv(stream)),
      guard_(*stream_, kStrangerWords),
      messages_(guard_, [this]() { return network_.getCurrentQueueSize(); }),
      network_(messages_, capnp::rpc::twoparty::Side::SERVER, reader_options(MessageLimits())),
      rpc_(capnp::makeRpcServer(network_, kj::mv(bootstrap))) {
  messages_.set_max_unfinished(kStrangerCalls);
  rpc_.setFlowLimit(kFlowLimitWords);
}

void MeshConnection::greeted() {
  guard_.set_max_words(MessageLimits().words);
  messages_.set_max_unfinished(kMaxUnfinished);
}

capnp::Capability::Client MeshConnection::bootstrap() {
  capnp::MallocMessageBuilder message(4);
  auto vat = message.initRoot<capnp::rpc::twoparty::VatId>();
  vat.setSide(capnp::rpc::twoparty::Side::SERVER);
  return rpc_.bootstrap(vat);
}

Violation MeshConnection::violation() const {
  if (!guard_.violation().empty()) return {guard_.reason(), guard_.violation()};
  return messages_.violation();
}

}  // namespace dualmesh::net
