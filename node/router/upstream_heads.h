// The heads of requests as they leave this node: to an instance, or one hop away to another node.
//
// Threads: pure functions.
#pragma once

#include "net/http_message.h"
#include "net/http_writer.h"
#include "node/access/trace_context.h"
#include "node/router/request_flow.h"

namespace dualmesh::node {

// Set on what another node hands over, to that node's name.
inline constexpr std::string_view kHopHeader = "x-dualmesh-handed-by";

// What changes in every head that leaves, and of those to instances and to nodes. The values are
// views into the settings and into what came in.
inline net::FieldChanges upstream_changes(const IncomingRequest& incoming) {
  net::FieldChanges changes;
  changes.dropped = {"Host"};              // the other's own, set by the client
  changes.dropped_prefix = "x-dualmesh-";  // what we say of requests nobody says in our name
  if (incoming.drops_trace) {
    changes.dropped.insert(changes.dropped.end(), {kTraceParentHeader, kTraceStateHeader});
  }
  changes.set.push_back({kRequestIdHeader, incoming.id.text()});
  return changes;
}

inline net::FieldChanges instance_changes(const IncomingRequest& incoming,
                                          const FlowSettings& settings) {
  net::FieldChanges changes = upstream_changes(incoming);
  if (!settings.upstream_authorization.empty()) {
    changes.set.push_back({"Authorization", settings.upstream_authorization});
  } else if (settings.drop_client_key) {
    changes.dropped.push_back("Authorization");
  }
  return changes;
}

// The other node asks for the client's key as this one did.
inline net::FieldChanges peer_changes(const IncomingRequest& incoming,
                                      const FlowSettings& settings) {
  net::FieldChanges changes = upstream_changes(incoming);
  changes.set.push_back({kHopHeader, settings.node_name});
  return changes;
}

// What an instance is told of who asks.
inline std::string_view instance_authorization(const net::HttpRequest& request,
                                               const FlowSettings& settings) {
  if (!settings.upstream_authorization.empty()) return settings.upstream_authorization;
  return settings.drop_client_key ? std::string_view() : request.headers.find("Authorization");
}

}  // namespace dualmesh::node
