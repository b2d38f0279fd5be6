#include <doctest/doctest.h>

#include <map>
#include <set>
#include <sstream>

#include "node/replay/trace.h"
#include "node/replay/workload.h"

namespace dualmesh::node {
namespace {

using policies::to_seconds;
using std::chrono::milliseconds;

net::Result<Workload> load(const std::string& text) {
  std::istringstream in(text);
  return load_mooncake(in, "t");
}

std::string line(long timestamp, int input, const std::string& ids) {
  return fmt::format(
             R"({{"timestamp": {}, "input_length": {}, "output_length": 7, "hash_ids": [{}]}})",
             timestamp, input, ids) +
         "\n";
}

std::string error_of(const std::string& text) {
  auto loaded = load(text);
  REQUIRE(loaded.has_error());
  return loaded.error().message;
}

TEST_CASE("a trace is read as written") {
  auto loaded = load(line(0, 600, "0, 5") + "\n" + line(1500, 1, "9"));
  REQUIRE(loaded.has_value());
  const auto& requests = loaded->requests;
  REQUIRE(requests.size() == 2);
  CHECK(requests[0].input_tokens == 600);
  CHECK(requests[0].output_tokens == 7);
  CHECK(requests[0].blocks == std::vector<std::uint64_t>{0, 5});
  CHECK(requests[1].arrival == milliseconds(1500));
  CHECK(loaded->notes.empty());
}

TEST_CASE("arrivals of one timestamp are spread evenly until the next, and this is said") {
  auto loaded = load(line(0, 1, "1") + line(0, 1, "1") + line(0, 1, "1") + line(3000, 1, "1") +
                     line(3000, 1, "1") + line(4000, 1, "1") + line(4000, 1, "1"));
  REQUIRE(loaded.has_value());
  // Three buckets over 4 s: the last one is given the mean width of 2 s.
  const long expected[] = {0, 1000, 2000, 3000, 3500, 4000, 5000};
  for (std::size_t i = 0; i < 7; ++i) {
    CHECK(loaded->requests[i].arrival == milliseconds(expected[i]));
  }
  REQUIRE(loaded->notes.size() == 1);
  CHECK(loaded->notes[0].find("7 requests share 3 timestamps") != std::string::npos);
}

TEST_CASE("an error names the line and what is allowed") {
  const std::string good = line(10, 512, "1");
  CHECK(error_of(good + "{oops\n") == "t:2: not a JSON object on one line");
  CHECK(error_of(good + good.substr(0, 30)) == "t:2: not a JSON object on one line");
  CHECK(error_of("[]\n") == "t:1: a JSON object is expected");
  CHECK(error_of(good + "\n" + R"({"timestamp": 11})" + "\n") == "t:3: output_length is missing");
  CHECK(error_of(line(-1, 512, "1")) ==
        "t:1: timestamp must be a whole number from 0 to 1099511627776");
  CHECK(error_of(line(0, 0, "")) == "t:1: input_length is 0, allowed are 1 to 100000000");
  CHECK(error_of(line(0, 513, "1")) ==
        "t:1: hash_ids has 1 entries, but input_length 513 needs 2 (one per 512 tokens)");
  CHECK(error_of(line(0, 512, "-1")) == "t:1: hash_ids must hold whole numbers from 0");
  CHECK(error_of(line(0, 512, "1.5")) == "t:1: hash_ids must hold whole numbers from 0");
  CHECK(error_of(good + line(9, 512, "1")) ==
        "t:2: timestamp 9 is before the line above it; the lines must be in order of time");
  CHECK(error_of("") == "t: no requests in it");
  CHECK(load_trace_file("/nowhere/x").error().message ==
        "/nowhere/x: cannot be opened for reading");
}

net::Result<Workload> load_clients(const std::string& text) {
  std::istringstream in(text);
  return load_multi_tenant(in, "t");
}

TEST_CASE("a multi-tenant trace names clients; its prompts share nothing") {
  auto loaded =
      load_clients(R"({"timestamp": 0, "client": "a", "input_length": 600, "output_length": 5})"
                   "\n"
                   R"({"timestamp": 250, "client": "b", "input_length": 2, "output_length": 9})"
                   "\n");
  REQUIRE(loaded.has_value());
  const auto& requests = loaded->requests;
  REQUIRE(requests.size() == 2);
  CHECK(requests[0].user == "a");
  CHECK(requests[1].user == "b");
  CHECK(requests[1].arrival == milliseconds(250));
  CHECK(requests[1].output_tokens == 9);
  REQUIRE(requests[0].blocks.size() == 2);
  REQUIRE(requests[1].blocks.size() == 1);
  CHECK(std::set{requests[0].blocks[0], requests[0].blocks[1], requests[1].blocks[0]}.size() == 3);
  CHECK(loaded->notes.size() == 1);
}

TEST_CASE("a broken multi-tenant trace: the line and what is allowed") {
  const auto error = [](const std::string& text) { return load_clients(text).error().message; };
  const std::string good =
      R"({"timestamp": 9, "client": "a", "input_length": 6, "output_length": 5})"
      "\n";
  CHECK(error(good + R"({"timestamp": 9, "input_length": 6, "output_length": 5})") ==
        "t:2: client must be a string of 1 to 256 bytes");
  CHECK(error(R"({"timestamp": 9, "client": 4, "input_length": 6, "output_length": 5})") ==
        "t:1: client must be a string of 1 to 256 bytes");
  CHECK(error(good + good.substr(0, 40)) == "t:2: not a JSON object on one line");
  CHECK(error(good + R"({"timestamp": 8, "client": "a", "input_length": 6, "output_length": 5})") ==
        "t:2: timestamp 8 is before the line above it; the lines must be in order of time");
  CHECK(error(R"({"timestamp": 9, "client": "a", "input_length": 0, "output_length": 5})") ==
        "t:1: input_length is 0, allowed are 1 to 100000000");
  CHECK(error("") == "t: no requests in it");
}

TEST_CASE("equal ids give equal text of exactly four bytes a token") {
  const ReplayRequest a{.input_tokens = 1024, .blocks = {3, 4}};
  const ReplayRequest b{.input_tokens = 700, .blocks = {3, 4}};
  const ReplayRequest c{.input_tokens = 1024, .blocks = {3, 5}};
  const std::string text = prompt_text(a);
  CHECK(text.size() == 4096);
  CHECK(prompt_text(b) == text.substr(0, 2800));
  CHECK(prompt_text(c).substr(0, 2048) == text.substr(0, 2048));
  CHECK(prompt_text(c).substr(2048) != text.substr(2048));
  CHECK(prompt_text({.input_tokens = 1, .blocks = {3}}) == text.substr(0, 4));
  for (char letter : text) CHECK_MESSAGE((letter == ' ' || std::islower(letter)), int{letter});
}

TEST_CASE("different ids give different text") {
  std::set<std::string> seen;
  for (std::uint64_t id = 0; id < 5000; ++id) {
    seen.insert(prompt_text({.input_tokens = 16, .blocks = {id}}));
  }
  CHECK(seen.size() == 5000);
}

TEST_CASE("selecting leaves out, cuts and rescales, and keeps the pattern of arrivals") {
  auto loaded = load(line(1000, 100, "1") + line(2000, 512, "1") + line(4000, 100, "1") +
                     line(5000, 100, "1") + line(9000, 100, "1") + line(10000, 100, "1"));
  REQUIRE(loaded.has_value());
  Workload workload = *loaded;
  select(workload, {.requests = 4, .max_input = 512, .qps = 1.5});
  CHECK(workload.left_out == 1);
  REQUIRE(workload.requests.size() == 4);
  CHECK(workload.requests[0].arrival == milliseconds(0));
  CHECK(mean_qps(workload) == doctest::Approx(1.5));
  // Gaps of 3, 1 and 4 s stay in proportion: 2 s for 3 gaps.
  CHECK(workload.requests[1].arrival == milliseconds(750));
  CHECK(workload.requests[2].arrival == milliseconds(1000));
  CHECK(workload.requests[3].arrival == milliseconds(2000));
}

TEST_CASE("the warm-up has a rate of its own and pushes the rest back") {
  std::string text;
  for (int i = 0; i < 11; ++i) text += line(1000 * i, 1, "1");
  Workload workload = *load(text);
  select(workload, {.qps = 2.0, .warmup = 6, .warmup_qps = 0.5});
  CHECK(workload.requests[5].arrival == milliseconds(10'000));
  CHECK(workload.requests[6].arrival == milliseconds(10'500));
  CHECK(workload.requests[10].arrival == milliseconds(12'500));
}

TEST_CASE("the chat generator is a function of its parameters") {
  const ChatParameters parameters{.requests = 3000, .qps = 8.0, .seed = 7};
  const Workload a = generate_chat(parameters);
  const Workload b = generate_chat(parameters);
  REQUIRE(a.requests.size() == 3000);
  std::set<std::uint64_t> first_blocks;
  std::set<std::string> users;
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    const ReplayRequest& request = a.requests[i];
    CHECK(request.blocks == b.requests[i].blocks);
    CHECK(request.arrival == b.requests[i].arrival);
    if (i > 0) CHECK(request.arrival >= a.requests[i - 1].arrival);
    CHECK(request.blocks.size() == (request.input_tokens + 511) / 512);
    first_blocks.insert(request.blocks.front());
    users.insert(request.user);
  }
  CHECK(first_blocks.size() == parameters.system_prompts);
  CHECK(users.size() > 300);
  const Workload c = generate_chat({.requests = 3000, .qps = 8.0, .seed = 8});
  CHECK(c.requests[0].blocks != a.requests[0].blocks);
  CHECK(mean_qps(a) > 6.0);
  CHECK(mean_qps(a) < 10.0);
  // Settled from the start: the first third takes about as long as the others.
  const double third_s = to_seconds(a.requests[1000].arrival);
  CHECK(third_s > 0.7 * to_seconds(a.requests.back().arrival) / 3);
  CHECK(third_s < 1.3 * to_seconds(a.requests.back().arrival) / 3);
}

TEST_CASE("a chat's turns extend one another") {
  const Workload workload = generate_chat({.requests = 500, .seed = 3});
  std::map<std::string, const ReplayRequest*> previous;
  std::size_t follow_ups = 0;
  for (const ReplayRequest& request : workload.requests) {
    const ReplayRequest*& before = previous[request.user];
    if (before != nullptr) {
      ++follow_ups;
      CHECK(request.input_tokens > before->input_tokens + before->output_tokens);
      const std::string shorter = prompt_text(*before);
      CHECK(prompt_text(request).substr(0, shorter.size()) == shorter);
    }
    before = &request;
  }
  CHECK(follow_ups > 200);
}

}  // namespace
}  // namespace dualmesh::node
