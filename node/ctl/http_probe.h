// speaks_http: whether what listens at an address is an HTTP server, so that a wrong port can be
// named.
//
// Invariant: it is done within kProbeTimeoutMs, name look-up included; all that the name stands
// for are tried in the order in which a call tries them. What fails or is late is no HTTP.
// Threads: the event loop's.
#pragma once

#include <kj/async-io.h>

#include <cstdint>
#include <string>

namespace dualmesh::node::ctl {

inline constexpr std::uint32_t kProbeTimeoutMs = 500;

kj::Promise<bool> speaks_http(kj::AsyncIoProvider& provider, const std::string& address,
                              std::uint16_t default_port);

}  // namespace dualmesh::node::ctl
