#include "node/replay/trace.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

namespace dualmesh::node {

using net::Error;
using nlohmann::json;
using policies::Time;

namespace {

constexpr std::uint64_t kMaxTokens = 100'000'000;
constexpr std::uint64_t kMaxTimestampMs = 1ull << 40;  // 34 years
constexpr std::size_t kMaxClientBytes = 256;

// What is wrong with the value of `key`, or the number.
std::optional<std::uint64_t> number(const json& object, const char* key, std::uint64_t least,
                                    std::uint64_t most, std::string& why) {
  const auto at = object.find(key);
  if (at == object.end()) {
    why = fmt::format("{} is missing", key);
  } else if (!at->is_number_integer() ||
             (!at->is_number_unsigned() && at->get<std::int64_t>() < 0)) {
    why = fmt::format("{} must be a whole number from {} to {}", key, least, most);
  } else if (at->get<std::uint64_t>() < least || at->get<std::uint64_t>() > most) {
    why = fmt::format("{} is {}, allowed are {} to {}", key, at->get<std::uint64_t>(), least, most);
  } else {
    return at->get<std::uint64_t>();
  }
  return std::nullopt;
}

// One line: a JSON object with at least the fields that both formats have.
std::string parse_common(const json& object, ReplayRequest& request) {
  std::string why;
  const auto timestamp = number(object, "timestamp", 0, kMaxTimestampMs, why);
  const auto input = number(object, "input_length", 1, kMaxTokens, why);
  const auto output = number(object, "output_length", 1, kMaxTokens, why);
  if (!timestamp || !input || !output) return why;
  request.arrival = std::chrono::milliseconds(*timestamp);
  request.input_tokens = static_cast<std::uint32_t>(*input);
  request.output_tokens = static_cast<std::uint32_t>(*output);
  return {};
}

std::size_t blocks_of(const ReplayRequest& request) {
  return (request.input_tokens + kBlockTokens - 1) / kBlockTokens;
}

std::string parse_prompt(const json& object, ReplayRequest& request) {
  const auto ids = object.find("hash_ids");
  if (ids == object.end() || !ids->is_array()) return "hash_ids must be an array of whole numbers";
  if (ids->size() != blocks_of(request)) {
    return fmt::format("hash_ids has {} entries, but input_length {} needs {} (one per {} tokens)",
                       ids->size(), request.input_tokens, blocks_of(request), kBlockTokens);
  }
  for (const json& id : *ids) {
    if (!id.is_number_unsigned()) return "hash_ids must hold whole numbers from 0";
    request.blocks.push_back(id.get<std::uint64_t>());
  }
  return {};
}

std::string parse_client(const json& object, ReplayRequest& request) {
  const auto client = object.find("client");
  if (client == object.end() || !client->is_string() ||
      client->get_ref<const std::string&>().empty() ||
      client->get_ref<const std::string&>().size() > kMaxClientBytes) {
    return fmt::format("client must be a string of 1 to {} bytes", kMaxClientBytes);
  }
  request.user = client->get<std::string>();
  return {};
}

using ParseRest = std::string (*)(const json&, ReplayRequest&);

// Empty when the line gave a request.
std::string parse_line(const std::string& line, ParseRest rest, ReplayRequest& request) {
  const json object = json::parse(line, nullptr, false);
  if (object.is_discarded()) return "not a JSON object on one line";
  if (!object.is_object()) return "a JSON object is expected";
  std::string why = parse_common(object, request);
  return why.empty() ? rest(object, request) : why;
}

void spread_buckets(Workload& workload) {
  auto& requests = workload.requests;
  std::size_t buckets = 1;
  for (std::size_t i = 1; i < requests.size(); ++i) {
    if (requests[i].arrival != requests[i - 1].arrival) ++buckets;
  }
  if (buckets == requests.size()) return;
  const Time span = requests.back().arrival - requests.front().arrival;
  const Time mean_width =
      buckets > 1 ? span / static_cast<long>(buckets - 1) : Time(std::chrono::seconds(1));
  for (std::size_t first = 0; first < requests.size();) {
    std::size_t last = first;
    while (last < requests.size() && requests[last].arrival == requests[first].arrival) ++last;
    const Time start = requests[first].arrival;
    const Time width = last < requests.size() ? requests[last].arrival - start : mean_width;
    for (std::size_t i = first; i < last; ++i) {
      requests[i].arrival =
          start + width * static_cast<long>(i - first) / static_cast<long>(last - first);
    }
    first = last;
  }
  workload.notes.push_back(
      fmt::format("{} requests share {} timestamps: the arrivals of each are spread evenly until "
                  "the next",
                  requests.size(), buckets));
}

net::Result<Workload> load_lines(std::istream& in, const std::string& name, ParseRest rest) {
  Workload workload;
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    ReplayRequest request;
    if (std::string why = parse_line(line, rest, request); !why.empty()) {
      return Error{fmt::format("{}:{}: {}", name, number, why)};
    }
    if (!workload.requests.empty() && request.arrival < workload.requests.back().arrival) {
      return Error{
          fmt::format("{}:{}: timestamp {} is before the line above it; the lines must be "
                      "in order of time",
                      name, number, request.arrival / std::chrono::milliseconds(1))};
    }
    workload.requests.push_back(std::move(request));
  }
  if (in.bad()) return Error{name + ": reading failed"};
  if (workload.requests.empty()) return Error{name + ": no requests in it"};
  return workload;
}

// The first line with something in it decides: a client and no block ids.
bool names_clients(std::istream& in) {
  std::string line;
  while (std::getline(in, line) && line.find_first_not_of(" \t\r") == std::string::npos) {
  }
  const json object = json::parse(line, nullptr, false);
  return object.is_object() && object.contains("client") && !object.contains("hash_ids");
}

}  // namespace

net::Result<Workload> load_mooncake(std::istream& in, const std::string& name) {
  auto workload = load_lines(in, name, parse_prompt);
  if (!workload.has_error()) spread_buckets(*workload);
  return workload;
}

net::Result<Workload> load_multi_tenant(std::istream& in, const std::string& name) {
  auto workload = load_lines(in, name, parse_client);
  if (workload.has_error()) return workload;
  std::uint64_t next = 0;
  for (ReplayRequest& request : workload->requests) {
    while (request.blocks.size() < blocks_of(request)) request.blocks.push_back(next++);
  }
  workload->notes.push_back("the trace names clients, not prompts: prompts share nothing");
  return workload;
}

net::Result<Workload> load_trace_file(const std::string& path) {
  std::ifstream in(path);
  if (!in || std::filesystem::is_directory(path)) {
    return Error{path + ": cannot be opened for reading"};
  }
  const bool multi_tenant = names_clients(in);
  in.clear();
  in.seekg(0);
  return multi_tenant ? load_multi_tenant(in, path) : load_mooncake(in, path);
}

}  // namespace dualmesh::node
