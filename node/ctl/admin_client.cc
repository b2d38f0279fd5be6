#include "node/ctl/admin_client.h"

#include <string_view>

namespace dualmesh::node::ctl {
namespace {

// Rows of a whole residency stream are the largest answer there is.
constexpr capnp::ReaderOptions kReaderOptions{.traversalLimitInWords = 128 * 1024 * 1024,
                                              .nestingLimit = 32};

// Usable at once: calls made before the connection is up wait for it.
wire::Admin::Client admin_of(capnp::EzRpcClient& rpc) {
  return rpc.getMain<wire::Bootstrap>().adminRequest().send().then(
      [](capnp::Response<wire::Bootstrap::AdminResults>&& answer) {
        return answer.getAdmin().getAs<wire::Admin>();
      });
}

}  // namespace

net::Error call_error(const std::string& doing, const std::string& address,
                      const kj::Exception& exception) {
  constexpr std::string_view kRemote = "remote exception: ";
  std::string why(exception.getDescription().cStr());
  if (why.starts_with(kRemote)) {  // the node answered: its words are for people already
    return net::Error{fmt::format("cannot {}: {}", doing, why.substr(kRemote.size()))};
  }
  if (exception.getType() == kj::Exception::Type::OVERLOADED) {
    return net::Error{
        fmt::format("cannot {}: {} did not answer within {} s; ask another node with "
                    "--node HOST:PORT",
                    doing, address, kCallTimeoutMs / 1000)};
  }
  if (auto colon = why.rfind("; "); colon != std::string::npos) why.erase(0, colon + 2);
  return net::Error{
      fmt::format("cannot {}: {} is not reachable ({}); is dualmeshd running there? Name a node's "
                  "mesh address with --node HOST:PORT or DUALMESH_NODE",
                  doing, address, why)};
}

AdminClient::AdminClient(const std::string& address)
    : address_(address),
      rpc_(std::make_unique<capnp::EzRpcClient>(address.c_str(), kDefaultMeshPort, kReaderOptions)),
      admin_(admin_of(*rpc_)) {}

void AdminClient::sleep_ms(std::uint32_t milliseconds) {
  timer().afterDelay(milliseconds * kj::MILLISECONDS).wait(rpc_->getWaitScope());
}

}  // namespace dualmesh::node::ctl
