// Until when a request must have been answered whole: what its client says in a header, at most
// what the node allows, or else the node's own setting.
//
// Threads: pure functions.
#pragma once

#include <chrono>

#include "net/error.h"
#include "net/http_message.h"

namespace dualmesh::node {

// Whole milliseconds from when the request has been read whole. Sent on with what is left of them.
inline constexpr std::string_view kTimeoutHeader = "x-request-timeout-ms";

struct DeadlineSettings {
  std::chrono::milliseconds standard{0};      // for requests that do not say; 0: none
  std::chrono::milliseconds most{3'600'000};  // whatever they say
};

// 0: none. What is wrong with the header, otherwise.
net::Result<std::chrono::milliseconds> request_timeout(const net::Headers& headers,
                                                       const DeadlineSettings& settings);

}  // namespace dualmesh::node
