// Plain blocking sockets for tests: the peer that sends exactly the bytes it is told to.
//
// Every wait is bounded by patience_ms, so that a test that fails ends.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace dualmesh::net::testing {

inline constexpr int patience_ms = 10'000;

class RawPeer {
 public:
  RawPeer() = default;
  explicit RawPeer(int descriptor) : fd_(descriptor) {}
  RawPeer(RawPeer&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), received_(std::move(other.received_)) {}
  RawPeer& operator=(RawPeer&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(received_, other.received_);
    return *this;
  }
  ~RawPeer() { close(); }

  static RawPeer connect(std::uint16_t port, int receive_buffer = 0) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) {
      ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    const sockaddr_in to = loopback(port);
    REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return RawPeer(fd);
  }
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the other side closed: what it answered is what counts
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  // Sends as much as fits without waiting; the number of bytes sent.
  std::size_t send_some(std::string_view bytes) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  // False at the end of the connection.
  bool receive_more() {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, patience_ms) <= 0) {
      FAIL("nothing received in time");
      return false;
    }
    char bytes[16 * 1024];
    const ssize_t count = ::recv(fd_, bytes, sizeof bytes, 0);
    was_reset_ = count < 0 && errno == ECONNRESET;
    if (count <= 0) return false;
    received_.append(bytes, static_cast<std::size_t>(count));
    return true;
  }
  // Everything up to and including `mark`, removed from what was received.
  std::string receive_until(std::string_view mark) {
    for (;;) {
      const std::size_t at = received_.find(mark);
      if (at != std::string::npos) return take(at + mark.size());
      if (!receive_more()) return take(received_.size());
    }
  }
  std::string receive_bytes(std::size_t count) {
    while (received_.size() < count && receive_more()) {
    }
    return take(std::min(count, received_.size()));
  }
  std::string receive_to_end() {
    while (receive_more()) {
    }
    return take(received_.size());
  }
  // One message whose body has a Content-Length: head and body.
  std::string receive_message() {
    std::string message = receive_until("\r\n\r\n");
    const std::size_t field = message.find("Content-Length: ");
    if (field != std::string::npos) {
      message += receive_bytes(std::stoul(message.substr(field + 16)));
    }
    return message;
  }
  bool was_reset() const { return was_reset_; }  // the last wait ended so
  bool is_closed_by_peer() { return received_.empty() && !receive_more() && received_.empty(); }
  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // Closes with a reset in place of a farewell.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

 private:
  std::string take(std::size_t count) {
    std::string taken = received_.substr(0, count);
    received_.erase(0, count);
    return taken;
  }

  int fd_ = -1;
  bool was_reset_ = false;
  std::string received_;
};

// A listener whose connections the test handles by hand.
class RawListener {
 public:
  RawListener() {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in any = RawPeer::loopback(0);
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0);
    REQUIRE(::listen(fd_, 64) == 0);
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = ntohs(bound.sin_port);
  }
  RawListener(const RawListener&) = delete;
  RawListener& operator=(const RawListener&) = delete;
  ~RawListener() { close(); }

  std::uint16_t port() const { return port_; }
  bool is_open() const { return fd_ >= 0; }
  std::string destination() const { return "127.0.0.1:" + std::to_string(port_); }
  // Is there a connection to accept, within that time?
  bool has_waiting(int within_ms) const {
    pollfd waiting{fd_, POLLIN, 0};
    return ::poll(&waiting, 1, within_ms) == 1;
  }
  RawPeer accept() {
    pollfd waiting{fd_, POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, patience_ms) == 1);
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return RawPeer(fd);
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

// A value another thread will set.
template <class T>
class Eventually {
 public:
  void set(T value) {
    const std::lock_guard lock(mutex_);
    value_ = std::move(value);
    set_ = true;
    changed_.notify_all();
  }
  T get() {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::milliseconds(patience_ms), [&] { return set_; }));
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  T value_{};
  bool set_ = false;
};

// Waits for what another thread will make true.
template <class Condition>
bool becomes_true(Condition condition) {
  for (int waited = 0; waited < patience_ms; ++waited) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return condition();
}

}  // namespace dualmesh::net::testing
