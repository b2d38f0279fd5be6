// "host:port" and "[v6]:port" taken apart.
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

// False unless it is a host, a colon and a port of 1 to 65535.
bool split_destination(std::string_view text, HostPort& out);

}  // namespace dualmesh::net
