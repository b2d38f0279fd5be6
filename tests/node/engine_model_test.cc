#include "node/engine/engine_model.h"

#include <doctest/doctest.h>

#include <map>
#include <numeric>
#include <random>

namespace dualmesh::node {
namespace {

using policies::Duration;
using std::chrono::microseconds;
using std::chrono::milliseconds;

// A prompt of `tokens` whose whole blocks are named family, family+1, ...
EngineRequest request(RequestId id, std::uint32_t tokens, std::uint32_t output,
                      policies::BlockKey family, std::uint32_t block_tokens = 16) {
  EngineRequest made{.id = id, .prompt_tokens = tokens, .output_tokens = output};
  made.blocks.resize(tokens / block_tokens);
  std::iota(made.blocks.begin(), made.blocks.end(), family);
  return made;
}

struct Run {
  EngineModel model;
  Duration now{};
  std::vector<Emission> step() {
    auto iteration = model.start_iteration(now);
    REQUIRE(iteration);
    CHECK(iteration->start == now);
    now = iteration->end;
    std::vector<Emission> out;
    model.finish_iteration(out);
    return out;
  }
};

TEST_CASE("a short request: one minimum iteration for its prefill, then one per token") {
  Run run{EngineModel({})};
  REQUIRE(run.model.enqueue(request(1, 100, 3, 1000)));
  auto first = run.step();  // 100 x 160 us = 16 ms < 25 ms
  CHECK(run.now == milliseconds(25));
  REQUIRE(first.size() == 1);
  CHECK(first[0].token == 0);
  CHECK_FALSE(first[0].finished);
  auto second = run.step();  // 25 ms + one decoding sequence
  CHECK(run.now == microseconds(50'300));
  CHECK(second[0].token == 1);
  auto third = run.step();
  CHECK(third[0].finished);
  CHECK(run.now == microseconds(75'600));
  CHECK_FALSE(run.model.start_iteration(run.now));
  CHECK(run.model.cache().in_use() == 0);
  CHECK(run.model.cache().evictable() == 6);
}

TEST_CASE("a long prompt is prefilled in chunks of what decoding leaves of the budget") {
  Run run{EngineModel({.token_budget = 1000})};
  REQUIRE(run.model.enqueue(request(1, 10, 100, 1000)));
  run.step();
  REQUIRE(run.model.enqueue(request(2, 2500, 1, 5000)));
  run.now = {};
  CHECK(run.step().size() == 1);  // 999 tokens of the prompt
  CHECK(run.now == microseconds(999 * 160 + 300));
  CHECK(run.step().size() == 1);  // 1,998
  auto last = run.step();         // the remaining 502
  CHECK(run.now == microseconds(2500 * 160 + 3 * 300));
  REQUIRE(last.size() == 2);
  CHECK(last[1].id == 2);
  CHECK(last[1].finished);
}

TEST_CASE("the prompts of one iteration share its budget in the order of arrival") {
  Run run{EngineModel({.token_budget = 1000})};
  REQUIRE(run.model.enqueue(request(1, 600, 2, 1000)));
  REQUIRE(run.model.enqueue(request(2, 600, 2, 2000)));
  REQUIRE(run.model.enqueue(request(3, 100, 2, 3000)));
  auto first = run.step();
  REQUIRE(first.size() == 1);
  CHECK(first[0].id == 1);
  CHECK(run.model.running() == 2);
  CHECK(run.model.waiting() == 1);
  auto second = run.step();  // 200 left of request 2, all of request 3, one decoding
  CHECK(second.size() == 3);
  CHECK(run.now == microseconds(1000 * 160 + 300 * 160 + 300));
}

TEST_CASE("a prefix hit counts whole blocks and leaves at least one token to compute") {
  Run run{EngineModel({})};
  REQUIRE(run.model.enqueue(request(1, 640, 1, 1000)));
  CHECK(run.step()[0].cached_tokens == 0);
  REQUIRE(run.model.enqueue(request(2, 640, 1, 1000)));
  CHECK(run.step()[0].cached_tokens == 624);
  REQUIRE(run.model.enqueue(request(3, 650, 1, 1000)));
  CHECK(run.step()[0].cached_tokens == 640);
  CHECK(run.model.counters().prompt_tokens == 1930);
  CHECK(run.model.counters().cached_tokens == 1264);
  CHECK(run.model.counters().prefill_tokens_computed == 640 + 16 + 10);
}

TEST_CASE("requests planned together hit each other's prefix") {
  Run run{EngineModel({})};
  REQUIRE(run.model.enqueue(request(1, 320, 1, 1000)));
  REQUIRE(run.model.enqueue(request(2, 325, 1, 1000)));
  auto out = run.step();
  REQUIRE(out.size() == 2);
  CHECK(out[1].cached_tokens == 320);
  CHECK(run.now == microseconds(325 * 160));
}

TEST_CASE("what does not fit beside the blocks in use waits, and those behind it too") {
  Run run{EngineModel({.cache_tokens = 160})};  // 10 blocks
  CHECK_FALSE(run.model.enqueue(request(9, 100, 61, 9000)));
  REQUIRE(run.model.enqueue(request(1, 90, 2, 1000)));  // 6 blocks
  REQUIRE(run.model.enqueue(request(2, 70, 2, 2000)));  // 5 blocks
  REQUIRE(run.model.enqueue(request(3, 10, 2, 3000)));  // would fit
  CHECK(run.step().size() == 1);
  CHECK(run.model.waiting() == 2);
  CHECK(run.step().back().finished);
  CHECK(run.step().size() == 2);
  CHECK(run.model.waiting() == 0);
}

TEST_CASE("generated text that finds no block preempts the sequence admitted last") {
  Run run{EngineModel({.cache_tokens = 160})};           // 10 blocks
  REQUIRE(run.model.enqueue(request(1, 64, 20, 1000)));  // 4
  REQUIRE(run.model.enqueue(request(2, 80, 3, 2000)));   // 5
  CHECK(run.step().size() == 2);
  // The first takes the last block for its second token, so the other finds none for its own.
  auto second = run.step();
  REQUIRE(second.size() == 1);
  CHECK(second[0].id == 1);
  CHECK(run.now == microseconds(25'000 + 25'300));
  CHECK(run.model.counters().preemptions == 1);
  CHECK(run.model.waiting() == 1);
  CHECK(run.model.cache().in_use() == 5);
  CHECK(run.model.cache().evictable() == 5);
  // With its generated token it needs six blocks beside five, and at the first's 17th token six;
  // that one evicts the fifth block of the waiting prompt.
  for (int iteration = 3; iteration <= 20; ++iteration) CHECK(run.step().size() == 1);
  CHECK(run.model.running() == 0);
  CHECK(run.now == microseconds(25'000 + 19 * 25'300));
  // Prompt and generated token again, but for the four blocks that are left.
  auto again = run.step();
  REQUIRE(again.size() == 1);
  CHECK(again[0].id == 2);
  CHECK(again[0].token == 1);
  CHECK(again[0].cached_tokens == 0);  // others' work was not reused
  CHECK_FALSE(again[0].finished);
  CHECK(run.model.counters().prefill_tokens_computed == 64 + 80 + 17);
  CHECK(run.model.counters().recomputed_tokens == 16);
  auto last = run.step();
  CHECK(last[0].token == 2);
  CHECK(last[0].finished);
  CHECK(run.now == microseconds(25'000 + 19 * 25'300 + 25'000 + 25'300));
  const EngineCounters& counters = run.model.counters();
  CHECK(counters.admitted == 2);
  CHECK(counters.prompt_tokens == 144);
  CHECK(counters.cached_tokens == 0);
  CHECK(counters.generated_tokens == 23);
  CHECK(run.model.cache().in_use() == 0);
}

TEST_CASE("who was preempted is admitted before those that wait, and not in the same iteration") {
  Run run{EngineModel({.max_running = 2, .cache_tokens = 160})};
  REQUIRE(run.model.enqueue(request(1, 47, 4, 1000)));   // 3 blocks, room for one more token
  REQUIRE(run.model.enqueue(request(2, 96, 10, 2000)));  // 6 blocks, full
  REQUIRE(run.model.enqueue(request(3, 16, 10, 3000)));
  run.step();
  CHECK(run.step().size() == 2);  // the second takes the last block
  auto third = run.step();        // the first needs one: it is the second that goes
  REQUIRE(third.size() == 1);
  CHECK(third[0].id == 1);
  CHECK(run.model.running() == 1);
  CHECK(run.model.waiting() == 2);
  // Seven blocks beside four are too many, and the third stays behind the second.
  CHECK(run.step().back().finished);
  CHECK(run.model.waiting() == 2);
  auto fifth = run.step();  // two generated tokens and the third's prompt
  REQUIRE(fifth.size() == 2);
  CHECK(fifth[0].id == 2);
  CHECK(fifth[0].token == 2);
  CHECK(fifth[1].id == 3);
  CHECK(run.model.counters().prefill_tokens_computed == 47 + 96 + 2 + 16);
  CHECK(run.model.counters().recomputed_tokens == 1);  // of 97, 96 were still cached
}

TEST_CASE("a sequence can be preempted before its first token") {
  Run run{EngineModel({.token_budget = 20, .cache_tokens = 128})};  // 8 blocks
  REQUIRE(run.model.enqueue(request(1, 16, 3, 1000)));
  REQUIRE(run.model.enqueue(request(2, 112, 1, 2000)));  // 7 blocks
  CHECK(run.step().size() == 1);                         // the first, and four tokens of the second
  const auto iteration = run.model.start_iteration(run.now);
  REQUIRE(iteration);
  CHECK(iteration->decoding == 1);
  CHECK(iteration->prefill_tokens == 0);
  CHECK(run.model.waiting() == 1);
  run.now = iteration->end;
  std::vector<Emission> out;
  run.model.finish_iteration(out);
  CHECK(run.step().back().finished);
  for (int chunk = 0; chunk < 5; ++chunk) CHECK(run.step().empty());  // 100 of 112 tokens
  CHECK(run.step().back().finished);
  CHECK(run.model.counters().recomputed_tokens == 4);
  CHECK(run.model.counters().prefill_tokens_computed == 16 + 4 + 112);
}

TEST_CASE("a preempted request can be cancelled while it waits") {
  Run run{EngineModel({.cache_tokens = 160})};
  REQUIRE(run.model.enqueue(request(1, 64, 20, 1000)));
  REQUIRE(run.model.enqueue(request(2, 80, 3, 2000)));
  run.step();
  run.step();
  REQUIRE(run.model.counters().preemptions == 1);
  CHECK(run.model.cancel(2));
  CHECK(run.model.waiting() == 0);
  CHECK(run.model.cache().in_use() == 5);
}

TEST_CASE("a prefill-only request finishes without a token") {
  Run run{EngineModel({})};
  REQUIRE(run.model.enqueue(request(1, 200, 0, 1000)));
  auto out = run.step();
  REQUIRE(out.size() == 1);
  CHECK_FALSE(out[0].emitted);
  CHECK(out[0].finished);
  CHECK(run.model.counters().generated_tokens == 0);
}

TEST_CASE("cancelling frees blocks at once, in the queue, in prefill, in an iteration") {
  Run run{EngineModel({.token_budget = 100, .cache_tokens = 3200})};
  REQUIRE(run.model.enqueue(request(1, 1000, 5, 1000)));
  REQUIRE(run.model.enqueue(request(2, 1000, 5, 2000)));
  CHECK(run.step().empty());
  CHECK(run.model.cancel(2));
  CHECK(run.model.waiting() == 0);
  CHECK(run.model.cache().in_use() == 63);
  REQUIRE(run.model.start_iteration(run.now));
  CHECK(run.model.cancel(1));
  CHECK_FALSE(run.model.cancel(1));
  CHECK(run.model.cache().in_use() == 0);
  CHECK(run.model.cache().evictable() == 200 / 16);
  std::vector<Emission> out;
  run.model.finish_iteration(out);
  CHECK(out.empty());
  CHECK(run.model.counters().cancelled == 2);
}

TEST_CASE("under random use every request gets its tokens in order, once, and all is given back") {
  std::uint64_t preemptions = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    auto pick = [&](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
    Run run{EngineModel({.token_budget = 64 + pick(600),
                         .max_running = 1 + pick(12),
                         .cache_tokens = 16 * (40 + pick(200))})};
    std::map<RequestId, std::uint32_t> left;  // tokens still to come
    std::map<RequestId, std::uint32_t> seen;
    RequestId next = 0;
    for (int step = 0; step < 400 || !left.empty(); ++step) {
      if (step < 400 && pick(3) == 0) {
        EngineRequest made = request(++next, 1 + pick(400), pick(60), 1000 * pick(4));
        const auto tokens = made.output_tokens;
        if (run.model.enqueue(std::move(made))) left[next] = tokens;
      }
      if (pick(15) == 0 && !left.empty()) {
        REQUIRE(run.model.cancel(left.begin()->first));
        left.erase(left.begin());
      }
      const auto iteration = run.model.start_iteration(run.now);
      CHECK(iteration.has_value() == !left.empty());
      if (!iteration) continue;
      CHECK(iteration->prefill_tokens + iteration->decoding <= run.model.parameters().token_budget);
      CHECK(run.model.running() <= run.model.parameters().max_running);
      CHECK(run.model.running() > 0);
      run.now = iteration->end;
      std::vector<Emission> out;
      run.model.finish_iteration(out);
      for (const Emission& emission : out) {
        REQUIRE(left.count(emission.id) == 1);
        if (emission.emitted) CHECK(emission.token == seen[emission.id]++);
        CHECK(emission.finished == (seen[emission.id] == left[emission.id]));
        if (emission.finished) left.erase(emission.id);
      }
      CHECK(run.model.waiting() + run.model.running() == left.size());
    }
    CHECK(run.model.cache().in_use() == 0);
    const EngineCounters& counters = run.model.counters();
    CHECK(counters.finished + counters.cancelled <= next);
    CHECK(counters.recomputed_tokens <= counters.prefill_tokens_computed);
    preemptions += counters.preemptions;
  }
  CHECK(preemptions > 100);
}

}  // namespace
}  // namespace dualmesh::node
