// TraceContext: the client's W3C trace context, checked.
//
// A well-formed `traceparent` goes to the instance as it came, with its `tracestate`: this node
// reports no spans of its own, and a parent id that nobody reports would cut the trace in two.
// Anything malformed, and a `tracestate` alone, is dropped; nothing is ever invented.
//
// Threads: pure functions. Source: W3C Trace Context, level 1 (3.2, 4.3).
#pragma once

#include <string_view>

#include "net/http_message.h"

namespace dualmesh::node {

inline constexpr std::string_view kTraceParentHeader = "traceparent";
inline constexpr std::string_view kTraceStateHeader = "tracestate";

struct TraceContext {
  std::string_view trace_id;  // 32 digits, within the head; empty: there is no good one
  bool drops = false;         // there is something to be dropped
};

// The trace id of a well-formed traceparent, else empty.
std::string_view trace_id_of(std::string_view traceparent);
TraceContext read_trace_context(const net::Headers& head);

}  // namespace dualmesh::node
