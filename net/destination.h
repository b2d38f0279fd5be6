// "host:port" and "[v6]:port" taken apart and put together: the one reader of addresses in settings
// and flags.
//
// Threads: functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::net {

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;
};

enum class PortZero : bool { refused, allowed };  // allowed where a listener may pick one

// False unless it is a host, a colon and a port; then `out` is as it was. An IPv6 address needs its
// brackets.
bool split_destination(std::string_view text, HostPort& out, PortZero zero = PortZero::refused);

// The reverse of it.
std::string join_destination(const HostPort& parts);

// Who listens there listens on every address of this host; others cannot dial it.
bool is_everywhere(std::string_view host);

// "localhost" and the addresses that never leave this host; false for every other name.
bool is_loopback(const std::string& host);

}  // namespace dualmesh::net
