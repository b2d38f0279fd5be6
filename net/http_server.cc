#include "net/http_server.h"

#include "net/asio_loop.h"
#include "net/http_acceptor.h"
#include "net/server_connection.h"

namespace dualmesh::net {

using asio::ip::tcp;

namespace {

enum class Opening { try_alone, share_port };

}  // namespace

struct HttpServer::State {
  State(IoThreads& io_threads, ServerLimits limits, Handler handler, HeadHandler on_head)
      : threads(io_threads),
        shared(std::make_shared<ServerShared>(limits, std::move(handler), std::move(on_head))) {
    for (std::size_t i = 0; i < threads.count(); ++i) {
      siblings.push_back(std::make_shared<ServerConnection::Siblings>());
    }
  }

  // With the thread of each.
  using Acceptors = std::vector<std::pair<std::size_t, std::shared_ptr<HttpAcceptor>>>;

  // On the thread that is to accept: a socket is used there alone, from its first system call on.
  // What is only tried is closed again, and null.
  std::shared_ptr<HttpAcceptor> open_acceptor(std::size_t thread, const tcp::endpoint& at,
                                              Transport transport, Opening opening,
                                              std::error_code& error) {
    std::shared_ptr<HttpAcceptor> acceptor;
    threads.at(thread).impl().run_and_wait([&] {
      acceptor = std::make_shared<HttpAcceptor>(threads.at(thread), shared, siblings[thread],
                                                transport);
      error = acceptor->bind(at, opening == Opening::share_port);
      if (!error && opening == Opening::share_port) error = acceptor->listen();
      if (error || opening == Opening::try_alone) acceptor.reset();
    });
    return acceptor;
  }
  // Before anybody was accepted.
  void drop(Acceptors& opened) {
    for (auto& [thread, acceptor] : opened) {
      threads.at(thread).impl().run_and_wait([&held = acceptor] { held.reset(); });
    }
  }
  void close(Acceptors& opened) {
    for (auto& [thread, acceptor] : opened) {
      threads.at(thread).impl().run_and_wait([acceptor = acceptor] { acceptor->close(); });
    }
    opened.clear();
  }

  IoThreads& threads;
  std::shared_ptr<ServerShared> shared;
  std::vector<std::shared_ptr<ServerConnection::Siblings>> siblings;  // by thread
  Acceptors acceptors;
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
  if (state_->open_acceptor(0, {ip, port}, transport, Opening::try_alone, error); error) {
    return cannot(error);
  }
  State::Acceptors opened;
  for (std::size_t i = 0; i < state_->threads.count(); ++i) {
    auto acceptor = state_->open_acceptor(i, {ip, port}, transport, Opening::share_port, error);
    if (error) {
      state_->drop(opened);
      return cannot(error);
    }
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
  state_->close(state_->acceptors);
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
