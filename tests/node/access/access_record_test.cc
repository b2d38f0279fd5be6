#include "node/access/access_record.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "policies/decision.h"

using namespace dualmesh;
using namespace dualmesh::node;
using nlohmann::json;

TEST_CASE("a line says what the record holds, and leaves out what it does not") {
  AccessRecord record;
  record.time_us = 1'700'000'000'000'042;
  record.id = *RequestId::read("r-1");
  record.tenant = std::make_shared<const Tenant>(Tenant{"search", 1, {}});
  record.path = "/v1/chat/completions";
  record.status = 200;
  record.reason = "affinity";
  record.ttft_s = 0.0125;
  record.total_s = 1.5;
  record.end = RequestEnd::complete;
  record.prompt_tokens = 7;
  const std::string line = to_json_line(record, "n1");
  CHECK(line.back() == '\n');
  CHECK(line.find('\n') == line.size() - 1);
  const json read = json::parse(line);
  CHECK(read["time"] == "2023-11-14T22:13:20.000042Z");
  CHECK(read["request_id"] == "r-1");
  CHECK(read["tenant"] == "search");
  CHECK(read["status"] == 200);
  CHECK(read["node"] == "n1");
  CHECK(read["ttft_ms"] == 12.5);
  CHECK(read["total_ms"] == 1500.0);
  CHECK(read["end"] == "complete");
  CHECK(read["prompt_tokens"] == 7);
  for (const char* absent : {"trace_id", "queue_wait_ms", "instance", "completion_tokens"}) {
    CHECK(!read.contains(absent));
  }
}

TEST_CASE("any bytes give valid JSON of bounded length") {
  std::mt19937 random(3);
  const auto text = [&] {
    std::string out(random() % 2'000, '\0');
    for (char& c : out) c = static_cast<char>(random());
    return out;
  };
  for (int i = 0; i < 300; ++i) {
    AccessRecord record;
    record.path = text();
    record.model = text();
    record.method = text();
    record.client = text();
    record.instance = text();
    const std::string line = to_json_line(record, "n\xff");
    CHECK(line.find('\n') == line.size() - 1);
    CHECK(json::accept(line));
    CHECK(line.size() < 8 * 6 * AccessRecord::kMostTextBytes);
  }
  AccessRecord record;
  record.path = "/v1/\"x\\\n";
  CHECK(json::parse(to_json_line(record, "n"))["path"] == record.path);
}

namespace {

using Names = std::set<std::string>;

// What stands in backticks in the first column of the README's table with this head, in order.
json documented(const std::string& head) {
  std::ifstream readme(DUALMESH_SOURCE "/node/access/README.md");
  Names names;
  bool inside = false;
  for (std::string line; std::getline(readme, line);) {
    if (line == head) {
      inside = true;
    } else if (inside && !line.starts_with("|")) {
      break;
    } else if (inside) {
      const std::string column = line.substr(1, line.find('|', 1) - 1);
      for (std::size_t at = 0; (at = column.find('`', at)) != std::string::npos;) {
        const std::size_t end = column.find('`', at + 1);
        names.insert(column.substr(at + 1, end - at - 1));
        at = end + 1;
      }
    }
  }
  return names;
}

AccessRecord full_record() {
  AccessRecord record;
  record.id = *RequestId::read("r-1");
  record.trace_id = record.client = record.method = record.path = record.model = "x";
  record.instance = record.handed_to = "x";
  record.reason = "x";
  record.tenant = std::make_shared<const Tenant>(Tenant{"search", 1, {}});
  record.decision = record.prompt_tokens = record.completion_tokens = record.cached_tokens = 1;
  record.status = 200;
  record.queue_wait_s = record.ttft_s = 1.0;
  return record;
}

}  // namespace

TEST_CASE("the README has every field, and every value of end and reason, and no other") {
  Names fields;
  const json line = json::parse(to_json_line(full_record(), "n1"));
  for (const auto& [name, value] : line.items()) fields.insert(name);
  CHECK(documented("| field | what |") == json(fields));

  Names ends;
  for (int end = 0; !to_string(static_cast<RequestEnd>(end)).empty(); ++end) {
    ends.emplace(to_string(static_cast<RequestEnd>(end)));
  }
  CHECK(ends.contains("aborted"));
  CHECK(documented("| `end` | what happened |") == json(ends));

  Names reasons = {kPassedThrough};
  using dualmesh::policies::Reason;
  for (int reason = 0; policies::to_string(static_cast<Reason>(reason)) != std::string("?");
       ++reason) {
    reasons.emplace(policies::to_string(static_cast<Reason>(reason)));
  }
  CHECK(reasons.contains("replaced"));
  CHECK(documented("| `reason` | why this instance |") == json(reasons));
}

TEST_CASE("the number of a decision is told where one was made") {
  AccessRecord record = full_record();
  record.decision = 18'446'744'073'709'551'615ULL;
  CHECK(json::parse(to_json_line(record, "n"))["decision"] == record.decision);
  record.decision = 0;
  CHECK(!json::parse(to_json_line(record, "n")).contains("decision"));
}
