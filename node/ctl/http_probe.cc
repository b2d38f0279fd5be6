#include "node/ctl/http_probe.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <string_view>

#include "net/destination.h"

namespace dualmesh::node::ctl {
namespace {

constexpr timeval kPatience{.tv_sec = 0, .tv_usec = 500'000};

bool answers_http(const addrinfo& at) {
  const int socket = ::socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);  // of connect, too
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  constexpr std::string_view kAsked = "GET / HTTP/1.1\r\nHost: dualmesh\r\n\r\n";
  constexpr std::string_view kHttp = "HTTP/";
  char read[kHttp.size()] = {};
  const bool is_http =
      connect(socket, at.ai_addr, at.ai_addrlen) == 0 &&
      send(socket, kAsked.data(), kAsked.size(), MSG_NOSIGNAL) == ssize_t{kAsked.size()} &&
      recv(socket, read, sizeof read, MSG_WAITALL) == ssize_t{sizeof read} &&
      std::string_view(read, sizeof read) == kHttp;
  close(socket);
  return is_http;
}

}  // namespace

bool speaks_http(const std::string& address) {
  net::HostPort parts;
  if (!net::split_destination(address, parts)) return false;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(parts.host.c_str(), std::to_string(parts.port).c_str(), &hints, &found) != 0) {
    return false;
  }
  const bool is_http = answers_http(*found);
  freeaddrinfo(found);
  return is_http;
}

}  // namespace dualmesh::node::ctl
