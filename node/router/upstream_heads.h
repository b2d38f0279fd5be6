// The heads of requests as they leave this node: to an instance, or one hop away to another node.
//
// Threads: pure functions.
#pragma once

#include "net/http_message.h"
#include "node/router/request_flow.h"

namespace dualmesh::node {

// Set on what another node hands over, to that node's name.
inline constexpr std::string_view kHopHeader = "x-dualmesh-handed-by";

// Without the body, which goes from where it lies.
inline net::HttpRequest make_upstream_head(const net::HttpRequest& request) {
  net::HttpRequest upstream;
  upstream.method = request.method;
  upstream.target = request.target;
  upstream.headers = request.headers;
  upstream.headers.remove("Host");  // the instance's own, set by the client
  upstream.headers.remove(kHopHeader);
  return upstream;
}

inline net::HttpRequest make_instance_head(const net::HttpRequest& request,
                                           const FlowSettings& settings) {
  net::HttpRequest upstream = make_upstream_head(request);
  if (!settings.upstream_api_key.empty()) {
    upstream.headers.set("Authorization", "Bearer " + settings.upstream_api_key);
  } else if (settings.drop_client_key) {
    upstream.headers.remove("Authorization");
  }
  return upstream;
}

// The other node asks for the client's key as this one did.
inline net::HttpRequest make_peer_head(const net::HttpRequest& request,
                                       const FlowSettings& settings) {
  net::HttpRequest upstream = make_upstream_head(request);
  upstream.headers.set(kHopHeader, settings.node_name);
  return upstream;
}

}  // namespace dualmesh::node
