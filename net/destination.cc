#include "net/destination.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace dualmesh::net {

bool split_destination(std::string_view text, HostPort& out, PortZero zero) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == std::string_view::npos) return false;
  } else if (host.find(':') != std::string_view::npos) {
    return false;  // an IPv6 address without brackets is ambiguous
  }
  if (host.empty() || host.size() > 253 || digits.empty() || digits.size() > 5) return false;
  const auto bad = [](char c) { return c <= ' ' || c == 0x7f || c == '/' || c == '[' || c == ']'; };
  if (std::ranges::any_of(host, bad)) return false;
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  if (port == 0 && zero == PortZero::refused) return false;
  out = {std::string(host), port};
  return true;
}

std::string join_destination(const HostPort& parts) {
  const bool v6 = parts.host.find(':') != std::string::npos;
  return (v6 ? "[" + parts.host + "]" : parts.host) + ":" + std::to_string(parts.port);
}

bool is_everywhere(std::string_view host) {
  return host == "0.0.0.0" || host == "::" || host == "*";
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

}  // namespace dualmesh::net
