// What a request may ask for beyond being well-formed: methods that are served, targets that have
// one meaning, hosts that are hosts.
//
// The instance behind us may resolve what we only compare: a target that begins with /v1/ here and
// names something else there would pass every rule we have. So what two servers could resolve
// differently is refused: dot segments in any spelling, escapes that are none, NUL.
//
// Threads: pure functions. Source: RFC 3986 2.1, 3.2.2, 5.2.4, 6.2.2; RFC 9110 4.2.4, 9.1.
#pragma once

#include <string_view>

namespace dualmesh::net {

// TRACE would return what a proxy adds; CONNECT makes a tunnel; what nobody knows may do anything.
bool is_served_method(std::string_view method);

// Why a target (origin form, visible ASCII) is refused, in plain words; empty: it is not.
std::string_view target_fault(std::string_view target);

// host[:port] or [IPv6][:port], the port from 1 to 65535 or empty.
bool is_host(std::string_view value);

}  // namespace dualmesh::net
