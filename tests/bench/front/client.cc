#include "tests/bench/front/client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace dualmesh::bench {

sockaddr_in parse_address(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error("not an IPv4 address with a port: " + text);
  }
  address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(text.c_str() + colon + 1)));
  return address;
}

void Client::open() {
  socket_ = socket(AF_INET, SOCK_STREAM, 0);
  if (socket_ < 0) throw std::runtime_error("no more sockets: raise the limit of open files");
  // On the loopback device a connection is there at once, so it need not be waited for in the loop.
  if (connect(socket_, reinterpret_cast<const sockaddr*>(&to_), sizeof to_) != 0) {
    ::close(socket_);
    socket_ = -1;
    return owner_.broken(*this, "connection refused", false);
  }
  const int on = 1;
  setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  busy_ = waits_for_room_ = false;
  loop_.watch(socket_, EPOLLIN, *this);
}

void Client::close(bool reset) {
  if (!is_open()) return;
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  if (reset) setsockopt(socket_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(socket_);
  socket_ = -1;
  busy_ = false;
  unsent_ = {};
}

void Client::send(std::string_view request, std::int64_t began_us) {
  began_us_ = began_us;
  busy_ = true;
  unsent_ = request;
  answer_.begin();
  write();
}

void Client::write() {
  const ssize_t sent = ::send(socket_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) unsent_.remove_prefix(static_cast<std::size_t>(sent));
  // Who breaks off while being written to may have answered before: the answer is read first.
  if (sent < 0 && errno != EAGAIN) unsent_ = {};
  const bool wait = !unsent_.empty();
  if (wait == waits_for_room_) return;
  waits_for_room_ = wait;
  loop_.change(socket_, wait ? EPOLLIN | EPOLLOUT : EPOLLIN, *this);
}

void Client::ready(std::uint32_t events) {
  if (!is_open()) return;
  if ((events & EPOLLOUT) != 0) write();
  if ((events & ~EPOLLOUT) != 0) read();
}

void Client::read() {
  static char buffer[1 << 17];
  const ssize_t count = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return;
  if (count < 0) return broke("connection reset");
  if (count == 0) return broke(busy_ ? "closed before the answer's end" : "closed while idle");
  if (!busy_) return broke("bytes that nobody asked for");
  switch (
      answer_.feed({buffer, static_cast<std::size_t>(count)}, now_us(), owner_.event_delays_us)) {
    case AnswerReader::State::kMore:
      return;
    case AnswerReader::State::kBroken:
      return broke("an answer that is not framed as it says");
    case AnswerReader::State::kDone:
      busy_ = false;
      return owner_.answered(*this);
  }
}

void Client::broke(const char* why) {
  const bool busy = busy_;
  close();
  owner_.broken(*this, why, busy);
}

void Client::wake_at(std::int64_t time_us) { loop_.at(time_us, *this, ++ticket_); }

void Client::due(std::uint32_t ticket) {
  if (ticket == ticket_) owner_.woken(*this);
}

}  // namespace dualmesh::bench
