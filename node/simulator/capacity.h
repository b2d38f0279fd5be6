// Effective request capacity: the highest rate at which enough requests are answered in time.
//
// A rate holds when slo_attainment >= min_attainment, ttft_max <= ttft_max_s (the drain included)
// and nothing was rejected, failed or left unfinished. Rates are multiples of the resolution; the
// answer is one that holds while the next one does not. Attainment need not fall steadily with the
// rate, so there may be more than one such place; a bisection finds one of them, the same each
// time.
//
// Threads: pure, given a pure `run`.
// Source: the metric of DualMap (arXiv 2602.06502, section 5), with a bound on the longest wait.
#pragma once

#include <functional>
#include <string>

#include "node/simulator/simulation_report.h"

namespace dualmesh::node {

struct CapacitySearch {
  double low_qps = 1.0;
  double high_qps = 16.0;
  bool fixed_low = false;   // else it is halved until it holds
  bool fixed_high = false;  // else it is doubled until it does not
  double resolution_qps = 0.02;
  double min_attainment = 0.9;
  double ttft_max_s = 60.0;  // 0: no bound
};

struct Capacity {
  double qps = 0;             // 0: no rate was found to hold
  SimulationFigures figures;  // at that rate; where there is none, at the lowest tried
  std::string note;           // empty, or why the bracket does not hold
  std::size_t runs = 0;
};

bool holds(const SimulationFigures& figures, const CapacitySearch& search);

using RunAt = std::function<SimulationFigures(double qps)>;
Capacity find_capacity(const CapacitySearch& search, const RunAt& run);

}  // namespace dualmesh::node
