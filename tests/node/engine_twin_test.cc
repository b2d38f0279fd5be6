// The engine model beside a twin in the plainest form: sums instead of counters, copies instead of
// moves. Prompts share nothing, so the twin needs no cache; that has a twin of its own.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "node/engine/engine_model.h"

namespace dualmesh::node {
namespace {

constexpr std::uint32_t kBlock = 16;

std::uint32_t blocks_of(std::uint32_t tokens) { return (tokens + kBlock - 1) / kBlock; }

struct NaiveSequence {
  RequestId id;
  std::uint32_t prompt, output;
  std::uint32_t emitted = 0;
  std::uint32_t goal = 0;  // tokens that its prefill computes
  std::uint32_t done = 0;
  std::uint32_t held = 0;     // blocks
  std::uint32_t planned = 0;  // prefill tokens in this iteration
  bool decodes = false;       // in this iteration
};

struct NaiveEngine {
  EngineParameters parameters;
  std::deque<NaiveSequence> waiting, running;
  std::uint64_t preemptions = 0;

  std::uint32_t used() const {
    std::uint32_t sum = 0;
    for (const NaiveSequence& one : running) sum += one.held;
    return sum;
  }
  std::uint32_t capacity() const {
    return static_cast<std::uint32_t>(parameters.cache_tokens / kBlock);
  }
  void cancel(RequestId id) {
    const auto same = [id](const NaiveSequence& one) { return one.id == id; };
    std::erase_if(waiting, same);
    std::erase_if(running, same);
  }
  bool preempt_for_decoding() {
    const std::uint64_t before = preemptions;
    for (std::size_t i = 0; i < running.size(); ++i) {
      if (running[i].done < running[i].goal) continue;
      const std::uint32_t needed = blocks_of(running[i].prompt + running[i].emitted);
      while (i < running.size() && used() - running[i].held + needed > capacity()) {
        NaiveSequence last = running.back();
        running.pop_back();
        last.goal = last.done = last.held = 0;
        waiting.push_front(last);
        ++preemptions;
      }
      if (i == running.size()) break;
      running[i].held = needed;
      running[i].decodes = true;
    }
    return preemptions > before;
  }
  // Emissions of one iteration, as (request, token), and its length.
  std::vector<std::pair<RequestId, std::uint32_t>> step(policies::Duration& length) {
    for (NaiveSequence& one : running) one.planned = one.decodes = 0;
    const bool short_of_memory = preempt_for_decoding();
    const auto decoding = std::count_if(running.begin(), running.end(),
                                        [](const NaiveSequence& one) { return one.decodes; });
    auto left = parameters.token_budget - static_cast<std::uint32_t>(decoding);
    const auto prefill = [&left](NaiveSequence& one) {
      one.planned = std::min(left, one.goal - one.done);
      one.done += one.planned;
      left -= one.planned;
    };
    for (NaiveSequence& one : running) prefill(one);
    while (!short_of_memory && left > 0 && !waiting.empty() &&
           running.size() < parameters.max_running) {
      NaiveSequence next = waiting.front();
      next.goal = next.prompt + next.emitted;
      next.held = blocks_of(next.goal);
      next.planned = next.decodes = 0;
      if (used() + next.held > capacity()) break;
      waiting.pop_front();
      prefill(next);
      running.push_back(next);
    }
    policies::Duration prefills{};
    std::vector<std::pair<RequestId, std::uint32_t>> emissions;
    for (NaiveSequence& one : running) {
      prefills += parameters.prefill_per_token * one.planned;
      if (one.decodes || (one.planned > 0 && one.done == one.goal)) {
        emissions.emplace_back(one.id, one.emitted++);
      }
    }
    length =
        std::max(parameters.min_iteration, prefills) + parameters.decode_per_sequence * decoding;
    std::erase_if(running, [](const NaiveSequence& one) { return one.emitted == one.output; });
    return emissions;
  }
};

TEST_CASE("the engine and its naive twin emit the same tokens in iterations of the same length") {
  std::uint64_t preemptions = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::uint32_t below) {
      return static_cast<std::uint32_t>(random() % below);
    };
    const EngineParameters parameters{.token_budget = 8 + pick(300),
                                      .max_running = 1 + pick(8),
                                      .cache_tokens = kBlock * (12 + pick(20))};
    EngineModel engine(parameters);
    NaiveEngine twin{parameters, {}, {}};
    policies::Time now{};
    for (RequestId next = 1; next < 300 || engine.waiting() + engine.running() > 0; ++next) {
      if (next < 300 && pick(3) == 0) {
        const EngineRequest made{next, 1 + pick(100), 1 + pick(80), {}};
        REQUIRE(engine.enqueue(made));
        twin.waiting.push_back({next, made.prompt_tokens, made.output_tokens});
      }
      if (pick(20) == 0) {
        const RequestId gone = 1 + pick(300);
        engine.cancel(gone);
        twin.cancel(gone);
      }
      REQUIRE(engine.waiting() == twin.waiting.size());
      REQUIRE(engine.running() == twin.running.size());
      const auto iteration = engine.start_iteration(now);
      if (!iteration) continue;
      std::vector<Emission> out;
      engine.finish_iteration(out);
      std::vector<std::pair<RequestId, std::uint32_t>> emitted;
      for (const Emission& one : out) emitted.emplace_back(one.id, one.token);
      policies::Duration length{};
      REQUIRE(emitted == twin.step(length));
      REQUIRE(iteration->end - iteration->start == length);
      REQUIRE(engine.cache().in_use() == twin.used());
      REQUIRE(engine.counters().preemptions == twin.preemptions);
      now = iteration->end;
    }
    preemptions += twin.preemptions;
  }
  CHECK(preemptions > 500);
}

}  // namespace
}  // namespace dualmesh::node
