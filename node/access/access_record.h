// AccessRecord: what the access log says of one request, as one line of JSON.
//
// Nothing of what a request says is in it but who asked whom for what: no key, no prompt, no field
// of a head but the request id and the trace id, and of the path nothing from the '?' on.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "node/access/request_id.h"
#include "node/identity/tenant.h"

namespace dualmesh::node {

enum class RequestEnd : std::uint8_t {
  client_gone,      // the first: so ends what nothing else has ended
  complete,         // answered in full, by an instance or by this node
  refused,          // by this node, which asked no instance or found none
  upstream_failed,  // no instance answered, or its answer broke off
  timeout,          // in a queue, of an instance, or of the client's body
  aborted,          // the time for draining was up
};
std::string_view to_string(RequestEnd end);  // empty beyond the last

// The reason where no policy chose: endpoints that are not routed by prefix. Others are those of
// policies/decision.h. What each means to a reader is in README.md, and a test compares.
inline constexpr const char* kPassedThrough = "passed_through";

struct AccessRecord {
  static constexpr std::size_t kMostTextBytes = 512;  // of path and model; the rest is cut off

  std::int64_t time_us = 0;  // since 1970, when the head was complete
  RequestId id;
  std::string trace_id;
  std::shared_ptr<const Tenant> tenant;
  std::string client;  // address
  std::string method;
  std::string path;
  std::string model;
  int status = 0;           // 0: no answer began
  std::string instance;     // that answered, or was asked last
  std::string handed_to;    // the node that had it answered
  std::string_view reason;  // of the choice of the instance; a literal
  // Its number among the node's routing decisions; 0: none was made. These have no request id: they
  // are on every request's path, this record only where a log is kept.
  std::uint64_t decision = 0;
  std::uint32_t retries = 0;
  std::uint64_t bytes_in = 0;  // bodies alone
  std::uint64_t bytes_out = 0;
  std::optional<double> queue_wait_s;  // until an instance was chosen, the last time
  std::optional<double> ttft_s;        // to the first token; streamed answers only
  double total_s = 0.0;
  RequestEnd end = RequestEnd::client_gone;
  std::uint32_t prompt_tokens = 0;  // as the answer's usage says; 0: it does not
  std::uint32_t completion_tokens = 0;
  std::uint32_t cached_tokens = 0;
};

// Valid JSON whatever bytes the record holds; ends with a line feed.
std::string to_json_line(const AccessRecord& record, std::string_view node);

}  // namespace dualmesh::node
