// One listening socket of one thread of a server: takes connections and starts them. Private to
// net/*.cc.
//
// Beyond a limit of connections a client is told so and closed: with a 503 or 429 in plain; over
// TLS with an alert, for a handshake is too much work to say no.
//
// Invariant: a connection taken is counted in open_connections until it is gone.
// Threads: bind and listen before it is used elsewhere; then on its IoThread.
#pragma once

#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>
#include <memory>

#include "net/refused_connections.h"
#include "net/server_connection.h"

namespace dualmesh::net {

class HttpAcceptor : public std::enable_shared_from_this<HttpAcceptor> {
 public:
  HttpAcceptor(IoThread& thread, std::shared_ptr<ServerShared> shared,
               std::shared_ptr<ServerConnection::Siblings> siblings, Transport transport);

  // `shared_port` lets the other threads listen on the same port.
  std::error_code bind(const asio::ip::tcp::endpoint& endpoint, bool shared_port);
  std::error_code listen();
  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  void accept();
  // Connections the kernel has already completed are still served: closing would reset them.
  void close();

 private:
  void take(asio::ip::tcp::socket socket);
  void refuse(asio::ip::tcp::socket socket, int status);

  IoThread& thread_;
  asio::ip::tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  std::shared_ptr<ServerShared> shared_;
  std::shared_ptr<ServerConnection::Siblings> siblings_;
  const Transport transport_;
  asio::ip::tcp::endpoint peer_;  // of the connection taken last
  RefusedConnections refused_;
  bool closed_ = false;
};

}  // namespace dualmesh::net
