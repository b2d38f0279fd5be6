#include <doctest/doctest.h>

#include <set>

#include "node/simulator/capacity.h"
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
