// SimulationFigures: what a simulated run comes to, as numbers.
//
// Only counted requests enter, those after the warm-up. A request that was rejected, failed or is
// unfinished has infinite times and stays in every denominator, so a single one makes `ttft_mean`
// and `ttft_max` infinite (null in JSON, empty in CSV).
//
// `load_cv` is the coefficient of variation over instances of the prompt tokens that they computed.
// Figures over clients: client_report.h. `ttft_p99_other_clients` is of those not well-behaved; NaN
// when there are none. `service_per_s` is service until the last arrival over the time until then.
//
// Threads: pure functions.
// Source: ours; the names are those of the replay tool's contract.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/simulator/client_report.h"
#include "node/simulator/simulation.h"

namespace dualmesh::node {

struct SimulationFigures {
  double qps = 0;  // of the counted arrivals
  double requests = 0;
  double completed = 0, rejected = 0;
  double failed = 0;  // whoever else has no answer
  double slo_attainment = 0;
  double hit_ratio = 0;  // cached over prompt tokens
  double load_cv = 0;
  double ttft_mean = 0, ttft_p50 = 0, ttft_p90 = 0, ttft_p95 = 0, ttft_p99 = 0, ttft_max = 0;
  double ttft_hit_p50 = 0;   // of requests that found at least half of their prompt cached
  double ttft_miss_p50 = 0;  // of the others
  double e2e_p50 = 0, e2e_p99 = 0;
  double goodput_qps = 0;  // answered within the SLO, over first arrival to last answer
  double output_tokens_per_s = 0;
  double migrations = 0;
  double idle_waiting_s = 0, most_running = 0, overshoots = 0;  // turn_audit.h, of the whole run
  double prompt_tokens = 0, prefill_tokens_computed = 0;
  double preemptions = 0, recomputed_tokens = 0;  // by the engines, of the whole run
  double clients = 0;
  double service_per_s = 0;
  double jain_fairness = 0;
  double ttft_p99_well_behaved = 0, ttft_p99_other_clients = 0;
  double wall_seconds = 0;
};

// Name, place and kind of each figure: JSON, CSV and averages are all made from this list.
struct FigureColumn {
  std::string_view name;
  double SimulationFigures::*value;
  bool whole;  // a count
};
std::span<const FigureColumn> figure_columns();

struct CountedRun {
  double slo_ttft_s = 5.0;
  std::size_t warmup = 0;
  double wall_seconds = 0;
  policies::ClientWeights client_weights;
};
SimulationFigures make_figures(const SimulationOutcome& outcome, const Workload& workload,
                               const CountedRun& run);
// By demand, the greatest first.
std::vector<ClientFigures> client_figures(const SimulationOutcome& outcome,
                                          const Workload& workload, const CountedRun& run);

// Times to the first token of the counted requests, ascending.
std::vector<double> sorted_ttft_s(const SimulationOutcome& outcome, std::size_t warmup);

SimulationFigures average(std::span<const SimulationFigures> figures);  // not empty
// Appends the figures to a JSON object; infinite and undefined ones are null.
void add_figures(const SimulationFigures& figures, nlohmann::json& out);

}  // namespace dualmesh::node
