#include "net/http_acceptor.h"

#include <asio/ip/v6_only.hpp>

namespace dualmesh::net {
namespace {

using asio::ip::tcp;

constexpr int backlog = 4096;

}  // namespace

HttpAcceptor::HttpAcceptor(IoThread& thread, std::shared_ptr<ServerShared> shared,
                           std::shared_ptr<ServerConnection::Siblings> siblings,
                           Transport transport)
    : thread_(thread),
      acceptor_(thread.impl().context),
      pause_(thread.impl().context),
      shared_(std::move(shared)),
      siblings_(std::move(siblings)),
      transport_(transport) {}

std::error_code HttpAcceptor::bind(const tcp::endpoint& endpoint, bool shared_port) {
  using reuse_port = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;
  std::error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.set_option(reuse_port(shared_port), error);
  if (!error && endpoint.protocol() == tcp::v6()) {
    // [::] is every address, of IPv4 as well.
    acceptor_.set_option(asio::ip::v6_only(!endpoint.address().is_unspecified()), error);
  }
  if (!error) acceptor_.bind(endpoint, error);
  return error;
}

std::error_code HttpAcceptor::listen() {
  std::error_code error;
  acceptor_.listen(backlog, error);
  return error;
}

void HttpAcceptor::accept() {
  acceptor_.async_accept(
      [self = shared_from_this()](const std::error_code& error, tcp::socket socket) {
        if (self->closed_) {
          if (!error) self->take(std::move(socket));
          return;
        }
        if (!error) {
          self->take(std::move(socket));
          return self->accept();
        }
        // Out of descriptors, most likely: connections wait in the backlog meanwhile.
        self->pause_.expires_after(std::chrono::milliseconds(50));
        self->pause_.async_wait([self](const std::error_code&) {
          if (!self->closed_) self->accept();
        });
      });
}

void HttpAcceptor::close() {
  if (closed_) return;
  closed_ = true;
  std::error_code error;
  acceptor_.non_blocking(true, error);
  for (;;) {
    tcp::socket socket = acceptor_.accept(error);
    if (error) break;
    take(std::move(socket));
  }
  acceptor_.close(error);
  pause_.cancel();
}

void HttpAcceptor::take(tcp::socket socket) {
  ++shared_->accepted;
  if (shared_->open_connections.fetch_add(1) >= shared_->limits.connections) {
    --shared_->open_connections;
    ++shared_->refused_overload;
    return;  // closes
  }
  const auto connection =
      std::make_shared<ServerConnection>(std::move(socket), thread_, shared_, siblings_);
  if (transport_ == Transport::plain) return connection->start();
  connection->start_tls(*shared_->certificate.get());
}

}  // namespace dualmesh::net
