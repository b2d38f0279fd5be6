#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "node/simulator/capacity.h"
#include "node/simulator/engine_limit.h"
#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

// A service that is good up to `good_qps`.
RunAt good_up_to(double good_qps, std::set<double>& tried) {
  return [good_qps, &tried](double qps) {
    CHECK(tried.insert(qps).second);  // nothing is run twice
    SimulationFigures figures;
    figures.qps = qps;
    figures.requests = figures.completed = 100;
    figures.slo_attainment = qps <= good_qps + 1e-9 ? 0.95 : 0.85;
    return figures;
  };
}

TEST_CASE("bisection finds the last rate that holds, wherever the bracket begins") {
  for (const double good_qps : {0.02, 0.5, 3.34, 8.86, 40.0}) {
    for (const double low : {0.1, 5.0}) {
      std::set<double> tried;
      const Capacity found =
          find_capacity({.low_qps = low, .high_qps = 10.0}, good_up_to(good_qps, tried));
      CAPTURE(good_qps);
      CHECK(found.qps == doctest::Approx(good_qps));
      CHECK(found.figures.qps == doctest::Approx(good_qps));
      CHECK(found.note.empty());
      CHECK(found.runs == tried.size());
      CHECK(found.runs <= 20);
    }
  }
}

TEST_CASE("a bracket that does not hold is said") {
  std::set<double> tried;
  CapacitySearch search{.low_qps = 5.0, .high_qps = 10.0, .fixed_low = true, .fixed_high = true};
  const Capacity below = find_capacity(search, good_up_to(3.0, tried));
  CHECK(below.qps == 0);
  CHECK(below.note == "no rate found: 5.00 per second is too much already");
  CHECK(below.figures.qps == doctest::Approx(5.0));
  tried.clear();
  const Capacity above = find_capacity(search, good_up_to(30.0, tried));
  CHECK(above.qps == doctest::Approx(10.0));
  CHECK(above.note == "at least that: 10.00 per second still holds");
  tried.clear();
  search.fixed_low = false;
  const Capacity nowhere = find_capacity(search, good_up_to(0.0, tried));
  CHECK(nowhere.qps == 0);
  CHECK(nowhere.note == "no rate found: 0.02 per second is too much already");
}

TEST_CASE("what holds: attainment, the longest wait, and an answer for everybody") {
  SimulationFigures figures;
  figures.requests = figures.completed = 10;
  figures.slo_attainment = 0.9;
  figures.ttft_max = 60;
  CHECK(holds(figures, {}));
  figures.slo_attainment = 0.89;
  CHECK_FALSE(holds(figures, {}));
  CHECK(holds(figures, {.min_attainment = 0.8}));
  figures.slo_attainment = 0.95;
  figures.ttft_max = 60.1;
  CHECK_FALSE(holds(figures, {}));
  CHECK(holds(figures, {.ttft_max_s = 0}));
  figures.ttft_max = 1;
  figures.completed = 9;
  figures.rejected = 1;
  CHECK_FALSE(holds(figures, {}));
}

SimulationFigures figures_of(const SimulationSettings& settings, const Workload& workload) {
  return make_figures(simulated(settings, workload), workload, {.slo_ttft_s = 5.0});
}

TEST_CASE("the drain after the last arrival is part of the longest wait") {
  // 120 prompts of 4,000 tokens are 76.8 s of work, and all are there within half a second.
  const Workload workload = generate("uniform:input_tokens=4000,output_tokens=1,spread=0",
                                     {.requests = 120, .qps = 240, .seed = 1});
  REQUIRE(workload.requests.back().arrival < std::chrono::seconds(1));
  const SimulationFigures figures = figures_of(small_fleet(1, "round_robin"), workload);
  CHECK(figures.completed == 120);
  CHECK(figures.ttft_max > 75);
  CHECK(figures.ttft_max < 80);
  CHECK(figures.slo_attainment < 0.1);
  CHECK_FALSE(holds(figures, {.min_attainment = 0}));
  CHECK(holds(figures, {.min_attainment = 0, .ttft_max_s = 80}));
  CHECK(holds(figures, {.min_attainment = 0, .ttft_max_s = 0}));
}

TEST_CASE("no rate holds at which somebody gets no answer, whatever share is asked for") {
  const Workload workload = generate("uniform", {.requests = 400, .qps = 5, .seed = 1});
  SimulationSettings settings = small_fleet(4, "round_robin");
  REQUIRE(holds(figures_of(settings, workload), {.min_attainment = 0}));
  SUBCASE("an instance fails with what it has begun") {
    settings.changes = {{FleetChange::What::fails, 0, std::chrono::seconds(30)}};
  }
  SUBCASE("a router fails with its requests") {
    settings.routers = 2;
    settings.changes = {{FleetChange::What::router_fails, 0, std::chrono::seconds(30)}};
  }
  SUBCASE("nobody is left to answer") {
    settings.patience = std::chrono::minutes(1);
    for (std::uint32_t i = 0; i < 4; ++i) {
      settings.changes.push_back({FleetChange::What::fails, i, std::chrono::seconds(30 + i)});
    }
  }
  const SimulationFigures figures = figures_of(settings, workload);
  CHECK(figures.completed < 400);
  CHECK(figures.completed + figures.rejected + figures.failed == 400);
  CHECK(figures.requests == 400);
  CHECK(figures.slo_attainment <= figures.completed / 400);
  CHECK(std::isinf(figures.ttft_max));
  CHECK_FALSE(holds(figures, {.min_attainment = 0, .ttft_max_s = 0}));
}

// Everything queued at one instance that forgets nothing, so that only the engine is in the way.
TEST_CASE("the engine's limit is what one instance with an infinite cache sustains") {
  for (const char* spec : {"rag", "multi-turn", "uniform"}) {
    CAPTURE(spec);
    const Workload workload = generate(spec, {.requests = 12'000, .qps = 5, .seed = 4});
    SimulationSettings settings = small_fleet(1, "round_robin");
    settings.engine.cache_tokens = std::uint64_t{1} << 32;
    EngineModel engine(settings.engine);
    for (std::uint32_t i = 0; i < workload.requests.size(); ++i) {
      const ReplayRequest& request = workload.requests[i];
      EngineRequest wanted{i, request.input_tokens, request.output_tokens, request.blocks};
      wanted.blocks.resize(request.input_tokens / kBlockTokens);
      REQUIRE(engine.enqueue(std::move(wanted)));
    }
    policies::Time now{};
    std::vector<Emission> emissions;
    while (const auto iteration = engine.start_iteration(now)) {
      now = iteration->end;
      engine.finish_iteration(emissions);
    }
    REQUIRE(engine.counters().finished == 12'000);
    const double sustained_qps = 12'000 / policies::to_seconds(now);
    const double limit_qps = engine_limit_qps(workload, 0, settings);
    CHECK(sustained_qps <= limit_qps * 1.0001);
    CHECK(sustained_qps > 0.97 * limit_qps);  // the last answers run on nearly empty
  }
}

TEST_CASE("presets can be told apart, fit a long prompt, and each says where it is from") {
  std::set<std::string_view> names;
  for (const Preset& preset : presets()) {
    CAPTURE(preset.name);
    CHECK(names.insert(preset.name).second);
    CHECK(find_preset(preset.name) == &preset);
    CHECK(preset.sources.size() > 100);
    const EngineParameters engine = engine_of(preset);
    CHECK(engine.block_tokens == kBlockTokens);
    CHECK(engine.cache_tokens >= 20'480 + 2'000);
    CHECK(engine.prefill_per_token > policies::Duration(0));
  }
  CHECK(find_preset("gpt") == nullptr);
  // The setting of the capacity figures.
  const EngineParameters engine = engine_of(presets().front());
  CHECK(engine.prefill_per_token == std::chrono::microseconds(160));
  CHECK(engine.min_iteration == std::chrono::milliseconds(25));
  CHECK(engine.decode_per_sequence == std::chrono::microseconds(300));
  CHECK(engine.cache_tokens == 2'340u * 512);
}

}  // namespace
}  // namespace dualmesh::node
