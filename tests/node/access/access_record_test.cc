#include "node/access/access_record.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>

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
