#include <doctest/doctest.h>

#include <numeric>

#include "node/simulator/engine_limit.h"
#include "node/simulator/simulation_report.h"
#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

bool same(const SimulationOutcome& a, const SimulationOutcome& b) {
  if (a.requests.size() != b.requests.size() || a.migrations != b.migrations) return false;
  for (std::size_t i = 0; i < a.requests.size(); ++i) {
    const SimRequest& x = a.requests[i];
    const SimRequest& y = b.requests[i];
    if (x.ttft_s != y.ttft_s || x.e2e_s != y.e2e_s || x.instance != y.instance ||
        x.cached_tokens != y.cached_tokens || x.router != y.router) {
      return false;
    }
  }
  return a.virtual_s == b.virtual_s;
}

TEST_CASE("a run is a pure function of its seed") {
  const Workload workload = generate("zipf", {.requests = 1500, .qps = 12, .seed = 3});
  SimulationSettings settings = small_fleet(4, "dualmap");
  settings.routers = 5;
  settings.view_delay = std::chrono::milliseconds(20);
  settings.kv_delay = std::chrono::milliseconds(70);
  settings.instance_delay = std::chrono::milliseconds(1);
  const SimulationOutcome first = simulated(settings, workload);
  CHECK(same(first, simulated(settings, workload)));
  settings.seed = 2;
  CHECK_FALSE(same(first, simulated(settings, workload)));
}

TEST_CASE("another seed lays the rings out differently, also for a router alone") {
  const Workload workload = generate("zipf", {.requests = 600, .qps = 12, .seed = 3});
  SimulationSettings settings = small_fleet(4, "ring_affinity");
  const SimulationOutcome first = simulated(settings, workload);
  settings.seed = 2;
  std::size_t elsewhere = 0;
  const SimulationOutcome second = simulated(settings, workload);
  for (std::size_t i = 0; i < first.requests.size(); ++i) {
    elsewhere += first.requests[i].instance != second.requests[i].instance;
  }
  CHECK(elsewhere > 200);  // three in four, by chance
}

TEST_CASE("every request has its answer, and nothing is left behind") {
  const Workload workload = generate("multi-turn", {.requests = 1000, .qps = 6, .seed = 5});
  for (const std::size_t routers : {1u, 3u}) {
    SimulationSettings settings = small_fleet(4, "dualmap");
    settings.routers = routers;
    const SimulationOutcome outcome = simulated(settings, workload);
    CHECK(outcome.held_at_end == 0);
    std::uint64_t computed = 0;
    std::uint64_t by_request = 0;
    for (const EngineCounters& engine : outcome.instances) {
      computed += engine.prefill_tokens_computed;
    }
    for (const SimRequest& request : outcome.requests) {
      REQUIRE(request.e2e_s < SimRequest::kNever);
      CHECK(request.ttft_s <= request.e2e_s);
      by_request += request.input_tokens - request.cached_tokens;
    }
    CHECK(computed == by_request);
  }
}

TEST_CASE("instances short of memory preempt, compute again and still answer everybody") {
  const Workload workload = generate("uniform:input_tokens=2000,output_tokens=900",
                                     {.requests = 300, .qps = 6, .seed = 5});
  SimulationSettings settings = small_fleet(2, "join_shortest_queue");
  settings.scheduler.prefill_limit = 100;
  settings.engine.cache_tokens = 60 * kBlockTokens;
  const SimulationOutcome outcome = simulated(settings, workload);
  std::uint64_t by_request = 0;
  for (const SimRequest& request : outcome.requests) {
    REQUIRE(request.e2e_s < SimRequest::kNever);
    by_request += request.input_tokens - request.cached_tokens;
  }
  EngineCounters sum;
  for (const EngineCounters& engine : outcome.instances) sum += engine;
  CHECK(sum.preemptions > 20);
  CHECK(sum.finished == 300);
  // A preempted sequence computes the token with which it goes on in the prefill, too.
  CHECK(sum.prefill_tokens_computed >= by_request + sum.recomputed_tokens);
  CHECK(sum.prefill_tokens_computed <= by_request + sum.recomputed_tokens + sum.preemptions);
  const SimulationFigures figures = make_figures(outcome, workload, {});
  CHECK(figures.preemptions == static_cast<double>(sum.preemptions));
  CHECK(figures.recomputed_tokens == static_cast<double>(sum.recomputed_tokens));
  settings.engine.cache_tokens = 2340 * kBlockTokens;
  CHECK(make_figures(simulated(settings, workload), workload, {}).preemptions == 0);
}

TEST_CASE("one request alone takes what the engine's constants say") {
  Workload workload;
  workload.requests.push_back({.input_tokens = 1000, .output_tokens = 3, .blocks = {1, 2}});
  SimulationSettings settings = small_fleet(2, "round_robin");
  settings.instance_delay = std::chrono::milliseconds(5);
  settings.speeds = {2.0};
  const SimulationOutcome outcome = simulated(settings, workload);
  // At twice the speed: 1,000 tokens of 80 us, two iterations of 12.5 ms with 0.15 ms of decoding.
  CHECK(outcome.requests[0].ttft_s == doctest::Approx(0.010 + 0.080));
  CHECK(outcome.requests[0].e2e_s == doctest::Approx(0.010 + 0.080 + 2 * 0.01265));
}

TEST_CASE("who waits longer than the patience has no answer, and the run ends") {
  Workload workload;
  workload.requests.push_back({.input_tokens = 5000, .output_tokens = 1, .blocks = {}});
  workload.requests[0].blocks.resize(10);
  std::iota(workload.requests[0].blocks.begin(), workload.requests[0].blocks.end(), 0);
  SimulationSettings settings = small_fleet(1, "round_robin");
  settings.patience = std::chrono::milliseconds(150);  // the prompt takes 800 ms
  const SimulationOutcome outcome = simulated(settings, workload);
  CHECK(outcome.requests[0].ttft_s == SimRequest::kNever);
  CHECK(outcome.held_at_end == 1);
  CHECK(outcome.virtual_s < 0.4);
}

TEST_CASE("an answer that has begun but never ends has no first token either") {
  Workload workload;
  workload.requests.push_back({.input_tokens = 100, .output_tokens = 50, .blocks = {1}});
  SimulationSettings settings = small_fleet(1, "round_robin");
  settings.patience = std::chrono::milliseconds(300);  // all of it takes 1.3 s
  const SimulationOutcome outcome = simulated(settings, workload);
  CHECK(outcome.requests[0].e2e_s == SimRequest::kNever);
  CHECK(outcome.requests[0].ttft_s == SimRequest::kNever);
}

TEST_CASE("years without a request cost nothing") {
  Workload workload;
  workload.requests.push_back({.input_tokens = 100, .output_tokens = 5, .blocks = {1}});
  workload.requests.push_back(workload.requests[0]);
  workload.requests[1].arrival = std::chrono::hours(24 * 365 * 100);
  const SimulationOutcome outcome = simulated(small_fleet(1, "dualmap"), workload);
  for (const SimRequest& request : outcome.requests) {
    CHECK(request.ttft_s == doctest::Approx(0.025));
  }
}

TEST_CASE("the engine's limit counts uncached tokens once, decoding and the speed of the fleet") {
  Workload workload;
  for (int i = 0; i < 3; ++i) {
    workload.requests.push_back({.input_tokens = 1124, .output_tokens = 11, .blocks = {7, 8, 20u}});
    workload.requests.back().blocks[2] += static_cast<std::uint64_t>(i);
  }
  SimulationSettings settings = small_fleet(2, "round_robin");
  // The first warms up; each of the others computes 100 tokens and decodes 10.
  const double each_s = 100 * 160e-6 + 10 * 300e-6;
  CHECK(engine_limit_qps(workload, 1, settings) == doctest::Approx(2 / each_s));
  settings.speeds = {1.0, 3.0};
  CHECK(engine_limit_qps(workload, 1, settings) == doctest::Approx(4 / each_s));
  // Counted from the start, the first computes all of its prompt.
  const double all_s = 3 * each_s + 1024 * 160e-6;
  CHECK(engine_limit_qps(workload, 0, settings) == doctest::Approx(3 * 4 / all_s));
  // A prompt that ends with a cached block computes it again: its last token is needed.
  workload.requests[2].input_tokens = 1024;
  workload.requests[2].blocks.resize(2);
  const double last_s = 512 * 160e-6 + 10 * 300e-6;
  CHECK(engine_limit_qps(workload, 2, settings) == doctest::Approx(4 / last_s));
}

TEST_CASE("a saturated fleet that shares nothing runs at the engine's limit") {
  const Workload workload = generate("uniform:spread=0", {.requests = 3000, .qps = 40, .seed = 1});
  SimulationSettings settings = small_fleet(2, "round_robin");
  settings.engine.cache_tokens *= 4;  // for the KV of all that decode at once
  const double limit = engine_limit_qps(workload, 0, settings);
  const SimulationOutcome outcome = simulated(settings, workload);
  double end_s = 0;
  for (const SimRequest& request : outcome.requests) {
    end_s = std::max(end_s, request.arrival_s + request.e2e_s);
  }
  // It arrives in 75 s and takes four times that; only the last answers run on half empty.
  CHECK(3000 / end_s < limit);
  CHECK(3000 / end_s > 0.95 * limit);
}

}  // namespace
}  // namespace dualmesh::node
