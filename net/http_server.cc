#include "net/http_server.h"

#include "net/asio_loop.h"
#include "net/http_acceptor.h"
#include "net/server_connection.h"

namespace dualmesh::net {

struct HttpServer::State {
  State(IoThreads& io_threads, ServerLimits limits, Handler handler, HeadHandler on_head)
      : threads(io_threads),
        shared(std::make_shared<ServerShared>(limits, std::move(handler), std::move(on_head))) {
    for (std::size_t i = 0; i < threads.count(); ++i) {
      siblings.push_back(std::make_shared<ServerConnection::Siblings>());
    }
  }

  IoThreads& threads;
  std::shared_ptr<ServerShared> shared;
  std::vector<std::shared_ptr<ServerConnection::Siblings>> siblings;  // by thread
  std::vector<std::pair<std::size_t, std::shared_ptr<HttpAcceptor>>> acceptors;
};

HttpServer::HttpServer(IoThreads& threads, ServerLimits limits, Handler handler,
                       HeadHandler on_head)
    : state_(
          std::make_shared<State>(threads, limits, std::move(handler), std::move(on_head))) {}

HttpServer::~HttpServer() {
  close_listener();
  for (std::size_t i = 0; i < state_->threads.count(); ++i) {
    state_->threads.at(i).impl().run_and_wait([siblings = state_->siblings[i]] {
      std::vector<std::shared_ptr<ServerConnection>> open;
      for (ServerConnection* connection : *siblings) {
        if (auto held = connection->weak_from_this().lock()) open.push_back(std::move(held));
      }
      for (const auto& connection : open) connection->close();
    });
  }
}

void HttpServer::set_certificate(std::shared_ptr<const ServerCertificate> certificate) {
  state_->shared->certificate.set(std::move(certificate));
}

Result<std::uint16_t> HttpServer::listen(const std::string& address, std::uint16_t port,
                                         Transport transport) {
  DUALMESH_CHECK(transport == Transport::plain || state_->shared->certificate.get(),
                 "TLS on {} port {} without a certificate", address, port);
  std::error_code error;
  std::string_view bare = address;
  if (bare.size() > 2 && bare.front() == '[' && bare.back() == ']') {
    bare = bare.substr(1, bare.size() - 2);
  }
  const auto ip = asio::ip::make_address(std::string(bare), error);
  if (error) {
    return Error{
        fmt::format("cannot listen on \"{}\": an IPv4 or IPv6 address is needed", address)};
  }
  const auto cannot = [&](const std::error_code& why) {
    return Error{fmt::format("cannot listen on {} port {}: {}", address, port, why.message())};
  };
  // SO_REUSEPORT would silently share the port with another process of ours: try without it first.
  // Only to bind: a client that knocks already would be let in, and its connection hold the port.
  if (const auto taken = HttpAcceptor(state_->threads.at(0), state_->shared, state_->siblings[0],
                                      transport)
                             .bind({ip, port}, false)) {
    return cannot(taken);
  }
  std::vector<std::pair<std::size_t, std::shared_ptr<HttpAcceptor>>> opened;
  for (std::size_t i = 0; i < state_->threads.count(); ++i) {
    auto acceptor =
        std::make_shared<HttpAcceptor>(state_->threads.at(i), state_->shared, state_->siblings[i],
                                       transport);
    if (const auto failed = acceptor->bind({ip, port}, true)) return cannot(failed);
    if (const auto failed = acceptor->listen()) return cannot(failed);
    port = acceptor->port();  // with port 0 the first one picks for all
    opened.emplace_back(i, std::move(acceptor));
  }
  state_->shared->closing = false;
  for (auto& [thread, acceptor] : opened) {
    state_->threads.at(thread).post([acceptor = acceptor] { acceptor->accept(); });
    state_->acceptors.emplace_back(thread, std::move(acceptor));
  }
  return port;
}

void HttpServer::close_listener() {
  state_->shared->closing = true;
  for (auto& [thread, acceptor] : state_->acceptors) {
    state_->threads.at(thread).impl().run_and_wait([acceptor = acceptor] { acceptor->close(); });
  }
  state_->acceptors.clear();
  for (std::size_t i = 0; i < state_->threads.count(); ++i) {
    state_->threads.at(i).post([siblings = state_->siblings[i]] {
      for (ServerConnection* connection : *siblings) connection->server_closing();
    });
  }
}

ServerStats HttpServer::stats() const {
  const ServerShared& shared = *state_->shared;
  ServerStats stats;
  stats.accepted = shared.accepted;
  stats.open_connections = shared.open_connections;
  stats.requests = shared.requests;
  stats.refused_malformed = shared.refused_malformed;
  stats.refused_too_large = shared.refused_too_large;
  stats.refused_overload = shared.refused_overload;
  stats.refused_slow = shared.refused_slow;
  stats.refused_connections = shared.refused_connections;
  stats.refused_addresses = shared.refused_addresses;
  stats.refused_plain_text = shared.refused_plain_text;
  stats.refused_tls = shared.refused_tls;
  stats.half_open_connections = shared.half_open_connections;
  stats.tls_handshakes = shared.tls_handshakes;
  stats.tls_resumed = shared.tls_resumed;
  stats.tls_failed = shared.tls_failed;
  stats.held_requests = shared.held_requests;
  stats.held_body_bytes = shared.held_body_bytes;
  return stats;
}

}  // namespace dualmesh::net
