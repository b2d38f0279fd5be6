#include "net/refused_connections.h"

#include <sys/socket.h>
#include <unistd.h>

namespace dualmesh::net {
namespace {

constexpr std::chrono::milliseconds pause{500};

// What has come is taken, as far as that is little work.
void close_descriptor(int descriptor) {
  char dropped[16 * 1024];
  for (int round = 0; round < 4; ++round) {
    if (::recv(descriptor, dropped, sizeof dropped, MSG_DONTWAIT) <= 0) break;
  }
  ::close(descriptor);
}

}  // namespace

RefusedConnections::~RefusedConnections() { close_all(); }

void RefusedConnections::refuse(asio::ip::tcp::socket socket, std::string_view answer) {
  std::error_code error;
  const int descriptor = socket.release(error);
  if (error) return;
  // A new connection has room for so few bytes; if not, it has gone.
  static_cast<void>(::send(descriptor, answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  ::shutdown(descriptor, SHUT_WR);
  if (young_.count == young_.descriptors.size()) return close_descriptor(descriptor);
  young_.descriptors[young_.count++] = descriptor;
  if (!timer_) timer_ = thread_.after(pause, [this] { look(); });
}

void RefusedConnections::look() {
  close(old_);
  old_ = young_;
  young_.count = 0;
  timer_ = old_.count > 0 ? thread_.after(pause, [this] { look(); }) : nullptr;
}

void RefusedConnections::close(Waiting& waiting) {
  for (std::size_t i = 0; i < waiting.count; ++i) close_descriptor(waiting.descriptors[i]);
  waiting.count = 0;
}

void RefusedConnections::close_all() {
  close(old_);
  close(young_);
  timer_.reset();
}

}  // namespace dualmesh::net
