#include "net/http_acceptor.h"

#include <asio/ip/v6_only.hpp>

#include "net/http_writer.h"
#include "net/prompt_reader.h"

namespace dualmesh::net {
namespace {

using asio::ip::tcp;

constexpr int backlog = 4096;

std::string refusal(int status, std::string message, std::string type, std::string code) {
  HttpResponse answer = json_response(
      status, to_json(ApiError{status, std::move(message), std::move(type), "", std::move(code)}));
  answer.headers.add("Retry-After", "1");
  std::string out;
  append_response_head(out, status, answer.headers, {.length = answer.body.size(), .close = true});
  return out + answer.body;
}

}  // namespace

HttpAcceptor::HttpAcceptor(IoThread& thread, std::shared_ptr<ServerShared> shared,
                           std::shared_ptr<ServerConnection::Siblings> siblings,
                           Transport transport)
    : thread_(thread),
      acceptor_(thread.impl().context),
      pause_(thread.impl().context),
      shared_(std::move(shared)),
      siblings_(std::move(siblings)),
      transport_(transport),
      refused_(thread) {}

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
      peer_, [self = shared_from_this()](const std::error_code& error, tcp::socket socket) {
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
    tcp::socket socket = acceptor_.accept(peer_, error);
    if (error) break;
    take(std::move(socket));
  }
  acceptor_.close(error);
  pause_.cancel();
  refused_.close_all();
}

void HttpAcceptor::take(tcp::socket socket) {
  ++shared_->accepted;
  const ServerLimits& limits = shared_->limits;
  if (shared_->open_connections.fetch_add(1) >= limits.connections) {
    --shared_->open_connections;
    ++shared_->refused_connections;
    return refuse(std::move(socket), 503);
  }
  std::unique_ptr<AddressCounts::Place> place;
  if (limits.connections_per_address > 0) {
    place = shared_->addresses.enter(peer_.address(), limits.connections_per_address);
    if (!place) {
      --shared_->open_connections;
      ++shared_->refused_addresses;
      return refuse(std::move(socket), 429);
    }
  }
  const auto connection =
      std::make_shared<ServerConnection>(std::move(socket), unmapped(peer_.address()).to_string(),
                                         std::move(place), thread_, shared_, siblings_);
  if (transport_ == Transport::plain) return connection->start();
  connection->start_tls(*shared_->certificate.get());
}

void HttpAcceptor::refuse(tcp::socket socket, int status) {
  static const std::string overloaded =
      refusal(503, "this node has as many connections as it may", "server_error", "overloaded");
  static const std::string too_many = refusal(429, "your address has as many connections as it may",
                                              "requests", "rate_limit_exceeded");
  // Fatal: internal_error. There is none that says more.
  constexpr std::string_view alert("\x15\x03\x03\x00\x02\x02\x50", 7);
  refused_.refuse(std::move(socket), transport_ == Transport::tls ? alert
                                     : status == 429              ? std::string_view(too_many)
                                                                  : std::string_view(overloaded));
}

}  // namespace dualmesh::net
