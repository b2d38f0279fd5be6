// What every connection of the request path asks of its socket. Private to net/*.cc.
//
// A host that lost its power or its network sends nothing, not even a refusal. Without probes a
// request would wait for it as long as the longest answer may take.
//
// Threads: a function.
#pragma once

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <asio/ip/tcp.hpp>
#include <chrono>

namespace dualmesh::net {

// No delay; probes after 15 s of silence; the connection fails when what was sent has not been
// acknowledged for `unacknowledged` (which counts a peer that does not read as well).
inline void set_socket_options(asio::ip::tcp::socket& socket,
                               std::chrono::milliseconds unacknowledged) {
  const auto set = [&](int level, int option, int value) {
    ::setsockopt(socket.native_handle(), level, option, &value, sizeof value);
  };
  std::error_code ignored;
  socket.non_blocking(true, ignored);  // what can be written at once is
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(unacknowledged.count()));
}

}  // namespace dualmesh::net
