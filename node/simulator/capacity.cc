#include "node/simulator/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace dualmesh::node {
namespace {

constexpr int kDoublings = 8;

// Runs by number of resolution steps, and remembers the highest rate that held.
class Bisection {
 public:
  Bisection(const CapacitySearch& search, const RunAt& run) : search_(search), run_(run) {}

  double rate(long step) const { return static_cast<double>(step) * search_.resolution_qps; }

  bool try_step(long step) {
    const SimulationFigures figures = run_(rate(step));
    ++result.runs;
    const bool good = holds(figures, search_);
    if (good && rate(step) > result.qps) {
      result.qps = rate(step);
      result.figures = figures;
    } else if (result.qps == 0) {
      result.figures = figures;
    }
    return good;
  }

  Capacity result;

 private:
  const CapacitySearch& search_;
  const RunAt& run_;
};

}  // namespace

bool holds(const SimulationFigures& figures, const CapacitySearch& search) {
  const bool in_time = search.ttft_max_s == 0 || figures.ttft_max <= search.ttft_max_s;
  return in_time && figures.slo_attainment >= search.min_attainment &&
         figures.completed == figures.requests;
}

Capacity find_capacity(const CapacitySearch& search, const RunAt& run) {
  Bisection bisection(search, run);
  Capacity& result = bisection.result;
  const auto step_of = [&](double qps) {
    return std::max(1L, std::lround(qps / search.resolution_qps));
  };
  long low = step_of(search.low_qps);
  long high = std::max(low + 1, step_of(search.high_qps));
  bool too_much = false;  // `high` is known to be
  while (!bisection.try_step(low)) {
    if (search.fixed_low || low == 1) {
      result.note =
          fmt::format("no rate found: {:.2f} per second is too much already", bisection.rate(low));
      return result;
    }
    high = low;
    low = std::max(1L, low / 2);
    too_much = true;
  }
  for (int doublings = 0; !too_much && bisection.try_step(high); ++doublings) {
    low = high;
    if (search.fixed_high || doublings == kDoublings) {
      result.note =
          fmt::format("at least that: {:.2f} per second still holds", bisection.rate(high));
      return result;
    }
    high *= 2;
  }
  while (high - low > 1) {
    const long middle = low + (high - low) / 2;
    (bisection.try_step(middle) ? low : high) = middle;
  }
  return result;
}

}  // namespace dualmesh::node
