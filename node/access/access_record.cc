#include "node/access/access_record.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

namespace dualmesh::node {
namespace {

using Json = nlohmann::ordered_json;

// RFC 3339 in UTC with microseconds.
std::string time_text(std::int64_t time_us) {
  const std::time_t seconds = time_us / 1'000'000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     time_us % 1'000'000);
}

double milliseconds(double seconds) { return std::round(seconds * 1e6) / 1e3; }

void put_text(Json& line, const char* name, std::string_view text) {
  if (!text.empty()) line[name] = text.substr(0, AccessRecord::kMostTextBytes);
}

void put_count(Json& line, const char* name, std::uint64_t count) {
  if (count > 0) line[name] = count;
}

}  // namespace

std::string_view to_string(RequestEnd end) {
  switch (end) {
    case RequestEnd::client_gone:
      return "client_gone";
    case RequestEnd::complete:
      return "complete";
    case RequestEnd::refused:
      return "refused";
    case RequestEnd::upstream_failed:
      return "upstream_failed";
    case RequestEnd::timeout:
      return "timeout";
    case RequestEnd::aborted:
      return "aborted";
  }
  return "";
}

std::string to_json_line(const AccessRecord& record, std::string_view node) {
  Json line;
  line["time"] = time_text(record.time_us);
  line["request_id"] = record.id.text();
  put_text(line, "trace_id", record.trace_id);
  if (record.tenant) put_text(line, "tenant", record.tenant->name);
  put_text(line, "client", record.client);
  put_text(line, "method", record.method);
  put_text(line, "path", record.path);
  put_text(line, "model", record.model);
  if (record.status > 0) line["status"] = record.status;
  line["end"] = to_string(record.end);
  line["node"] = node;
  put_text(line, "instance", record.instance);
  put_text(line, "handed_to", record.handed_to);
  put_text(line, "reason", record.reason);
  put_count(line, "decision", record.decision);
  line["retries"] = record.retries;
  line["bytes_in"] = record.bytes_in;
  line["bytes_out"] = record.bytes_out;
  if (record.queue_wait_s) line["queue_wait_ms"] = milliseconds(*record.queue_wait_s);
  if (record.ttft_s) line["ttft_ms"] = milliseconds(*record.ttft_s);
  line["total_ms"] = milliseconds(record.total_s);
  put_count(line, "prompt_tokens", record.prompt_tokens);
  put_count(line, "completion_tokens", record.completion_tokens);
  put_count(line, "cached_tokens", record.cached_tokens);
  // Bytes that are no UTF-8 become U+FFFD.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

}  // namespace dualmesh::node
