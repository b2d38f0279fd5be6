#include "node/simulator/simulation_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "node/replay/statistics.h"

namespace dualmesh::node {
namespace {

using Counted = std::span<const SimRequest>;
using Figures = SimulationFigures;

constexpr std::array kColumns{
    FigureColumn{"qps", &Figures::qps, false},
    FigureColumn{"requests", &Figures::requests, true},
    FigureColumn{"completed", &Figures::completed, true},
    FigureColumn{"rejected", &Figures::rejected, true},
    FigureColumn{"failed", &Figures::failed, true},
    FigureColumn{"slo_attainment", &Figures::slo_attainment, false},
    FigureColumn{"hit_ratio", &Figures::hit_ratio, false},
    FigureColumn{"load_cv", &Figures::load_cv, false},
    FigureColumn{"ttft_mean", &Figures::ttft_mean, false},
    FigureColumn{"ttft_p50", &Figures::ttft_p50, false},
    FigureColumn{"ttft_p90", &Figures::ttft_p90, false},
    FigureColumn{"ttft_p95", &Figures::ttft_p95, false},
    FigureColumn{"ttft_p99", &Figures::ttft_p99, false},
    FigureColumn{"ttft_max", &Figures::ttft_max, false},
    FigureColumn{"ttft_hit_p50", &Figures::ttft_hit_p50, false},
    FigureColumn{"ttft_miss_p50", &Figures::ttft_miss_p50, false},
    FigureColumn{"e2e_p50", &Figures::e2e_p50, false},
    FigureColumn{"e2e_p99", &Figures::e2e_p99, false},
    FigureColumn{"goodput_qps", &Figures::goodput_qps, false},
    FigureColumn{"output_tokens_per_s", &Figures::output_tokens_per_s, false},
    FigureColumn{"migrations", &Figures::migrations, true},
    FigureColumn{"idle_waiting_s", &Figures::idle_waiting_s, false},
    FigureColumn{"most_running", &Figures::most_running, true},
    FigureColumn{"overshoots", &Figures::overshoots, true},
    FigureColumn{"prompt_tokens", &Figures::prompt_tokens, true},
    FigureColumn{"prefill_tokens_computed", &Figures::prefill_tokens_computed, true},
    FigureColumn{"preemptions", &Figures::preemptions, true},
    FigureColumn{"recomputed_tokens", &Figures::recomputed_tokens, true},
    FigureColumn{"clients", &Figures::clients, true},
    FigureColumn{"service_per_s", &Figures::service_per_s, false},
    FigureColumn{"jain_fairness", &Figures::jain_fairness, false},
    FigureColumn{"ttft_p99_well_behaved", &Figures::ttft_p99_well_behaved, false},
    FigureColumn{"ttft_p99_other_clients", &Figures::ttft_p99_other_clients, false},
    FigureColumn{"wall_seconds", &Figures::wall_seconds, false},
};

bool answered(const SimRequest& request) { return std::isfinite(request.e2e_s); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return percentile(values, 50);
}

void add_latencies(Counted counted, Figures& out) {
  std::vector<double> ttft, e2e, hit, miss;
  for (const SimRequest& request : counted) {
    ttft.push_back(request.ttft_s);
    e2e.push_back(request.e2e_s);
    (2 * request.cached_tokens >= request.input_tokens ? hit : miss).push_back(request.ttft_s);
  }
  std::sort(ttft.begin(), ttft.end());
  std::sort(e2e.begin(), e2e.end());
  out.ttft_mean = mean(ttft);
  out.ttft_p50 = percentile(ttft, 50);
  out.ttft_p90 = percentile(ttft, 90);
  out.ttft_p95 = percentile(ttft, 95);
  out.ttft_p99 = percentile(ttft, 99);
  out.ttft_max = percentile(ttft, 100);
  out.ttft_hit_p50 = median(std::move(hit));
  out.ttft_miss_p50 = median(std::move(miss));
  out.e2e_p50 = percentile(e2e, 50);
  out.e2e_p99 = percentile(e2e, 99);
}

void add_rates(Counted counted, double slo_ttft_s, Figures& out) {
  double end_s = counted.front().arrival_s;
  double in_time = 0;
  double tokens = 0;
  for (const SimRequest& request : counted) {
    if (request.ttft_s <= slo_ttft_s) ++in_time;
    if (!answered(request)) continue;
    end_s = std::max(end_s, request.arrival_s + request.e2e_s);
    tokens += request.output_tokens;
  }
  const double duration_s = end_s - counted.front().arrival_s;
  const double arrivals_s = counted.back().arrival_s - counted.front().arrival_s;
  const auto size = static_cast<double>(counted.size());
  out.qps = arrivals_s > 0 ? (size - 1) / arrivals_s : NAN;
  out.slo_attainment = in_time / size;
  out.goodput_qps = duration_s > 0 ? in_time / duration_s : 0;
  out.output_tokens_per_s = duration_s > 0 ? tokens / duration_s : 0;
}

void add_cache(Counted counted, std::size_t instances, Figures& out) {
  double cached = 0;
  std::vector<double> computed(instances);
  for (const SimRequest& request : counted) {
    out.prompt_tokens += request.input_tokens;
    if (!std::isfinite(request.ttft_s)) continue;
    cached += request.cached_tokens;
    computed[request.instance] += request.input_tokens - request.cached_tokens;
  }
  out.hit_ratio = cached / out.prompt_tokens;
  out.load_cv = coefficient_of_variation(computed);
  out.prefill_tokens_computed = std::accumulate(computed.begin(), computed.end(), 0.0);
}

void add_clients(Counted counted, std::span<const ReplayRequest> wanted,
                 std::span<const ClientFigures> clients, Figures& out) {
  out.clients = static_cast<double>(clients.size());
  double service = 0;
  for (const ClientFigures& one : clients) service += one.service;
  const double arrivals_s = counted.back().arrival_s - counted.front().arrival_s;
  out.service_per_s = arrivals_s > 0 ? service / arrivals_s : NAN;
  out.jain_fairness = client_fairness(clients);
  out.ttft_p99_well_behaved = percentile(ttft_s_of(clients, true, counted, wanted), 99);
  out.ttft_p99_other_clients = percentile(ttft_s_of(clients, false, counted, wanted), 99);
}

}  // namespace

std::span<const FigureColumn> figure_columns() { return kColumns; }

std::vector<ClientFigures> client_figures(const SimulationOutcome& outcome,
                                          const Workload& workload, const CountedRun& run) {
  return make_client_figures(Counted(outcome.requests).subspan(run.warmup),
                             std::span(workload.requests).subspan(run.warmup), run.client_weights);
}

SimulationFigures make_figures(const SimulationOutcome& outcome, const Workload& workload,
                               const CountedRun& run) {
  DUALMESH_CHECK(run.warmup < outcome.requests.size(), "warm-up of {} of {} requests", run.warmup,
                 outcome.requests.size());
  const Counted counted = Counted(outcome.requests).subspan(run.warmup);
  Figures out;
  out.requests = static_cast<double>(counted.size());
  for (const SimRequest& request : counted) {
    ++(answered(request) ? out.completed : request.rejected ? out.rejected : out.failed);
  }
  add_latencies(counted, out);
  add_rates(counted, run.slo_ttft_s, out);
  add_cache(counted, outcome.instances.size(), out);
  add_clients(counted, std::span(workload.requests).subspan(run.warmup),
              client_figures(outcome, workload, run), out);
  out.migrations = static_cast<double>(outcome.migrations);
  out.idle_waiting_s = outcome.idle_waiting_s;
  out.most_running = outcome.most_running;
  out.overshoots = static_cast<double>(outcome.overshoots);
  for (const EngineCounters& engine : outcome.instances) {
    out.preemptions += static_cast<double>(engine.preemptions);
    out.recomputed_tokens += static_cast<double>(engine.recomputed_tokens);
  }
  out.wall_seconds = run.wall_seconds;
  return out;
}

std::vector<double> sorted_ttft_s(const SimulationOutcome& outcome, std::size_t warmup) {
  std::vector<double> values;
  for (std::size_t i = warmup; i < outcome.requests.size(); ++i) {
    values.push_back(outcome.requests[i].ttft_s);
  }
  std::sort(values.begin(), values.end());
  return values;
}

SimulationFigures average(std::span<const SimulationFigures> figures) {
  DUALMESH_CHECK(!figures.empty(), "an average of {}", figures.size());
  Figures sum = figures.front();
  for (const FigureColumn& column : kColumns) {
    for (const Figures& more : figures.subspan(1)) sum.*column.value += more.*column.value;
    sum.*column.value /= static_cast<double>(figures.size());
  }
  return sum;
}

void add_figures(const SimulationFigures& figures, nlohmann::json& out) {
  for (const FigureColumn& column : kColumns) {
    const double value = figures.*column.value;
    nlohmann::json& place = out[std::string(column.name)];
    if (!std::isfinite(value)) {
      place = nullptr;
    } else if (column.whole && value == std::floor(value)) {
      place = static_cast<std::int64_t>(value);
    } else {
      place = value;
    }
  }
}

}  // namespace dualmesh::node
