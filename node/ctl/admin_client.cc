#include "node/ctl/admin_client.h"

#include <string_view>

#include "net/mesh.capnp.h"
#include "net/mesh_tls_stream.h"
#include "node/ctl/http_probe.h"

namespace dualmesh::node::ctl {
namespace {

// Rows of a whole residency stream are the largest answer there is.
constexpr net::MessageLimits kLimits{.words = 128 * 1024 * 1024, .nesting = 32};

// Whether a person gave the address of an HTTP server; asked at most once.
bool is_http(const std::string& address, AdminIo& io) {
  if (io.unproven != address) return false;
  io.unproven.reset();
  return speaks_http(*io.io.provider, address, kDefaultMeshPort).wait(io.io.waitScope);
}

}  // namespace

net::Error call_error(const std::string& doing, const std::string& address,
                      const kj::Exception& exception, AdminIo& io) {
  constexpr std::string_view kRemote = "remote exception: ";
  std::string why(exception.getDescription().cStr());
  if (why.starts_with(kRemote)) {  // the node answered: its words are for people already
    if (io.unproven == address) io.unproven.reset();
    return net::Error{fmt::format("cannot {}: {}", doing, why.substr(kRemote.size()))};
  }
  const bool is_refused = why.find("Connection refused") != std::string::npos;
  if (!is_refused && is_http(address, io)) {
    return net::Error{fmt::format(
        "cannot {}: {} speaks HTTP, so it is where clients or an instance are served; name a "
        "node's mesh address, its mesh.listen (port {} by default), with --node HOST:PORT",
        doing, address, kDefaultMeshPort)};
  }
  if (exception.getType() == kj::Exception::Type::OVERLOADED) {
    return net::Error{
        fmt::format("cannot {}: {} did not answer within {} s; ask another node with "
                    "--node HOST:PORT",
                    doing, address, kCallTimeoutMs / 1000)};
  }
  if (auto tls = why.find(net::kTlsFailure); tls != std::string::npos) {
    return net::Error{fmt::format(
        "cannot {}: {}: {}; a certificate of the mesh's CA is shown with --ca, --certificate and "
        "--key or DUALMESH_CA, DUALMESH_CERTIFICATE and DUALMESH_KEY",
        doing, address, why.substr(tls))};
  }
  if (why.find("Peer disconnected") != std::string::npos) {
    return net::Error{fmt::format(
        "cannot {}: {} closed the connection; where the mesh speaks TLS, show a certificate of its "
        "CA with --ca, --certificate and --key",
        doing, address)};
  }
  if (auto colon = why.rfind("; "); colon != std::string::npos) why.erase(0, colon + 2);
  // kj puts the system call before what went wrong.
  if (auto call = why.rfind("(): "); call != std::string::npos) why.erase(0, call + 4);
  if (auto call = why.rfind(") = "); call != std::string::npos) why.erase(0, call + 4);
  return net::Error{
      fmt::format("cannot {}: {} is not reachable ({}); is dualmeshd running there? Name a node's "
                  "mesh address with --node HOST:PORT or DUALMESH_NODE",
                  doing, address, why)};
}

AdminClient::AdminClient(const std::string& address, AdminIo& io)
    : address_(address), io_(io), admin_(connect()) {}

// Calls made before the connection is up wait for it.
kj::Promise<wire::Admin::Client> AdminClient::connect() {
  return kj::evalNow([this]() { return dial(); }).then([this](kj::Own<kj::AsyncIoStream>&& stream) {
    auto connection = kj::heap<net::MeshConnection>(kj::mv(stream), kLimits);
    auto asked = connection->bootstrap().castAs<wire::Bootstrap>().adminRequest().send();
    connection_ = kj::mv(connection);
    return asked.then([](capnp::Response<wire::Bootstrap::AdminResults>&& answer) {
      return answer.getAdmin().getAs<wire::Admin>();
    });
  });
}

kj::Promise<kj::Own<kj::AsyncIoStream>> AdminClient::dial() {
  return io_.io.provider->getNetwork()
      .parseAddress(address_.c_str(), kDefaultMeshPort)
      .then([](kj::Own<kj::NetworkAddress>&& parsed) {
        auto connected = parsed->connect();
        return connected.attach(kj::mv(parsed));
      })
      .then([this](kj::Own<kj::AsyncIoStream>&& stream) -> kj::Promise<kj::Own<kj::AsyncIoStream>> {
        if (!io_.certificate) return kj::mv(stream);
        auto tls = kj::heap<net::TlsStream>(kj::mv(stream), io_.certificate,
                                            net::TlsStream::Side::dialling);
        auto secured = tls->handshake();
        return secured.then(
            [tls = kj::mv(tls)]() mutable { return kj::Own<kj::AsyncIoStream>(kj::mv(tls)); });
      });
}

void AdminClient::sleep_ms(std::uint32_t milliseconds) {
  timer().afterDelay(milliseconds * kj::MILLISECONDS).wait(io_.io.waitScope);
}

}  // namespace dualmesh::node::ctl
