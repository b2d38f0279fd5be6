// Which attempts at an instance may be made again elsewhere, by how they ended.
//
// Threads: pure functions.
#pragma once

#include "net/http_client.h"
#include "net/http_message.h"

namespace dualmesh::node {

inline bool is_worth_a_retry(int status) { return status == 502 || status == 503; }

// Whatever the instance has begun with it, the request may be sent to another one.
inline bool is_safe(const net::HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

inline bool is_surely_unsent(net::ClientError error) {
  return error == net::ClientError::connect || error == net::ClientError::resolve ||
         error == net::ClientError::local;
}

inline bool blames_instance(net::ClientError error) {
  return error != net::ClientError::none && error != net::ClientError::local &&
         error != net::ClientError::called_off;
}

}  // namespace dualmesh::node
