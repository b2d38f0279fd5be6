// RefusedConnections: clients over a limit of connections. Each is told so and closed a moment
// later: closed at once, with its request unread, the refusal would be destroyed by a reset.
// Private to net/*.cc.
//
// Invariant: at most `most_waiting` descriptors are kept, each for a second at most; nothing is
// allocated for a client, and nothing of what it sends is kept.
// Threads: on its IoThread.
#pragma once

#include <array>
#include <asio/ip/tcp.hpp>
#include <string_view>

#include "net/asio_loop.h"

namespace dualmesh::net {

class RefusedConnections {
 public:
  explicit RefusedConnections(IoThread& thread) : thread_(thread) {}
  ~RefusedConnections();
  RefusedConnections(const RefusedConnections&) = delete;

  void refuse(asio::ip::tcp::socket socket, std::string_view answer);
  void close_all();

 private:
  static constexpr std::size_t most_waiting = 64;
  struct Waiting {
    std::array<int, most_waiting / 2> descriptors;
    std::size_t count = 0;
  };
  static void close(Waiting& waiting);
  void look();

  IoThread& thread_;
  Waiting young_, old_;
  IoThread::Timer timer_;  // runs while somebody waits
};

}  // namespace dualmesh::net
