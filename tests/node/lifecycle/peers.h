// The two ends of a node's connections, in the hands of a test: its clients, and the instances and
// nodes behind it. Nothing here waits; what has not arrived has not arrived.
//
// Threads: none.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <utility>

#include "net/error.h"

namespace dualmesh::node::testing {

class TestSocket {
 public:
  TestSocket() = default;
  explicit TestSocket(int descriptor) : fd_(descriptor) {
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  TestSocket(TestSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  TestSocket& operator=(TestSocket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~TestSocket() { reset(); }  // leaves no port behind

  static sockaddr_in address_of(const std::string& host, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    DUALMESH_CHECK(::inet_pton(AF_INET, host.c_str(), &address.sin_addr) == 1, "{}", host);
    return address;
  }
  // What is not read stays within little memory when asked.
  static TestSocket connect(const std::string& host, std::uint16_t port, int receive_buffer = 0) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) {
      ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    const sockaddr_in to = address_of(host, port);
    TestSocket socket(fd);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) socket.reset();
    return socket;
  }

  bool is_open() const { return fd_ >= 0; }
  // As much as fits.
  std::size_t send(std::string_view bytes) const {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent > 0 ? static_cast<std::size_t>(sent) : 0;
  }
  // Appends what has arrived; false at the end of the connection.
  bool receive(std::string& into) const {
    char bytes[16 * 1024];
    for (;;) {
      const ssize_t count = ::recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
      if (count < 0) return errno == EAGAIN || errno == EINTR;
      if (count == 0) return false;
      into.append(bytes, static_cast<std::size_t>(count));
    }
  }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void reset() {
    if (fd_ < 0) return;
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

 private:
  int fd_ = -1;
};

// Whether `text` begins with one message that is complete; its size, else 0.
inline std::size_t complete_message(std::string_view text) {
  const std::size_t head_end = text.find("\r\n\r\n");
  if (head_end == std::string_view::npos) return 0;
  const std::size_t body = head_end + 4;
  const std::string_view head = text.substr(0, body);
  constexpr std::string_view chunked = "Transfer-Encoding: chunked\r\n";
  if (head.find(chunked) != std::string_view::npos) {
    const std::size_t end = text.find("\r\n0\r\n\r\n", head_end + 2);
    return end == std::string_view::npos ? 0 : end + 7;
  }
  constexpr std::string_view length = "Content-Length: ";
  const std::size_t field = head.find(length);
  if (field == std::string_view::npos) return body;
  const std::size_t size = std::stoul(std::string(head.substr(field + length.size(), 12)));
  return text.size() >= body + size ? body + size : 0;
}

// An instance, or another node, as it looks from outside: a port and the connections to it.
class TestUpstream {
 public:
  struct Connection {
    TestSocket socket;
    std::string received;
    std::uint64_t number = 0;  // of the request, in the order of all; 0: none yet
    bool streamed = false, tokenize = false;
    bool head_sent = false;
    char prompt = 0;                             // the letter it consists of: the client's
    bool is_due() const { return number != 0; }  // a request waits for the rest of its answer
  };

  explicit TestUpstream(std::string host) : host_(std::move(host)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const sockaddr_in any = TestSocket::address_of(host_, 0);
    const bool open = ::bind(fd_, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0 &&
                      ::listen(fd_, 64) == 0;
    DUALMESH_CHECK(open, "no port for an instance");
    sockaddr_in bound{};
    socklen_t size = sizeof bound;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&bound), &size);
    port_ = ntohs(bound.sin_port);
  }
  TestUpstream(const TestUpstream&) = delete;
  TestUpstream& operator=(const TestUpstream&) = delete;
  ~TestUpstream() { refuse(); }

  std::string address() const { return host_ + ":" + std::to_string(port_); }
  bool refuses() const { return fd_ < 0; }
  // From now on; open connections go on.
  void refuse() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  // Takes what has come; true if that was anything.
  bool look(std::uint64_t& last_number) {
    bool news = false;
    for (int fd = accept(); fd >= 0; fd = accept()) {
      connections.push_back({TestSocket(fd), {}});
      news = true;
    }
    for (auto one = connections.begin(); one != connections.end();) {
      const std::size_t before = one->received.size();
      const bool open = one->socket.receive(one->received);
      news |= !open || one->received.size() > before;
      take_request(*one, last_number);
      one = open ? std::next(one) : connections.erase(one);
    }
    return news;
  }

  std::list<Connection> connections;

 private:
  int accept() const {
    return fd_ < 0 ? -1 : ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  }
  static void take_request(Connection& connection, std::uint64_t& last_number) {
    const std::size_t size = connection.is_due() ? 0 : complete_message(connection.received);
    if (size == 0) return;
    const std::string_view request = std::string_view(connection.received).substr(0, size);
    connection.streamed = request.find(R"("stream":true)") != std::string_view::npos;
    connection.tokenize = request.find("/tokenize ") != std::string_view::npos;
    connection.head_sent = false;
    connection.prompt = size > 100 ? request[size - 100] : ' ';
    connection.number = ++last_number;
    connection.received.erase(0, size);
  }

  const std::string host_;
  int fd_ = -1;
  std::uint16_t port_ = 0;
};

}  // namespace dualmesh::node::testing
