#include "node/replay/bench.h"

#include <algorithm>

#include "node/simulator/engine_limit.h"

namespace dualmesh::node {
namespace {

using Wall = std::chrono::steady_clock;

constexpr std::size_t kProgressParts = 100;  // of one run
constexpr auto kQuiet = std::chrono::seconds(1);
constexpr std::size_t kWarmupShare = 16;

double seconds_since(Wall::time_point start) {
  return std::chrono::duration<double>(Wall::now() - start).count();
}

}  // namespace

std::string Contestant::label() const {
  std::string text = policy;
  if (!queue.empty()) text += "@" + queue;
  if (!residency.empty()) text += " " + residency;
  return text;
}

Bench::Bench(const SimulationOptions& options, std::size_t expected_runs)
    : options_(options), expected_runs_(expected_runs) {}

std::string Bench::load_seed(std::uint64_t seed) {
  auto loaded = load_workload(options_, seed);
  if (loaded.has_error()) return loaded.error().message;
  Seeded seeded{std::move(*loaded), 0};
  select(seeded.workload,
         {.requests = options_.selection.requests, .max_input = options_.selection.max_input});
  if (std::string problem = check_workload(options_, seeded.workload); !problem.empty()) {
    return problem;
  }
  seeded.warmup = options_.warmup.value_or(seeded.workload.requests.size() / kWarmupShare);
  if (seeded_.empty()) notes_ = seeded.workload.notes;
  seeded_.emplace(seed, std::move(seeded));
  return {};
}

std::string Bench::load() {
  if (!options_.trace.empty()) {
    if (std::string problem = load_seed(options_.seed); !problem.empty()) return problem;
    for (std::size_t i = 1; i < options_.seeds; ++i) {
      seeded_[options_.seed + i] = seeded_[options_.seed];
    }
    return {};
  }
  for (std::size_t i = 0; i < options_.seeds; ++i) {
    if (std::string problem = load_seed(options_.seed + i); !problem.empty()) return problem;
  }
  return {};
}

Bench::Run Bench::run(const Contestant& contestant, double qps, std::uint64_t seed) {
  const Seeded& seeded = seeded_.at(seed);
  Workload workload = seeded.workload;
  select(workload, {.max_input = 0,
                    .qps = qps,
                    .warmup = seeded.warmup,
                    .warmup_qps = options_.selection.warmup_qps});
  SimulationSettings settings = options_.fleet;
  settings.scheduler.policy = contestant.policy;
  settings.scheduler.queue = contestant.queue;
  settings.caches = cache_sight_of(contestant.residency);
  settings.seed = seed;
  for (FleetChange& change : settings.changes) {
    change.at += workload.requests[seeded.warmup].arrival;
  }
  const std::string what =
      qps > 0 ? fmt::format("{}, {:.2f} per second", contestant.label(), qps) : contestant.label();
  const auto started = Wall::now();
  Simulation simulation(settings, workload);
  const SimulationOutcome outcome =
      simulation.run([&](std::size_t ended) { tell(ended, workload.requests.size(), what); });
  ended();
  const CountedRun counted{.slo_ttft_s = settings.scheduler.slo_ttft_s,
                           .warmup = seeded.warmup,
                           .wall_seconds = seconds_since(started),
                           .client_weights = settings.scheduler.client_weights};
  return {make_figures(outcome, workload, counted), sorted_ttft_s(outcome, seeded.warmup),
          client_figures(outcome, workload, counted)};
}

namespace {

void complete(BenchResult& result) {
  result.figures = average(result.by_seed);
  std::sort(result.ttft_s.begin(), result.ttft_s.end());
}

}  // namespace

BenchResult Bench::simulate(const Contestant& contestant) {
  BenchResult result;
  result.contestant = contestant;
  for (std::size_t i = 0; i < options_.seeds; ++i) {
    Run one = run(contestant, options_.selection.qps, options_.seed + i);
    result.by_seed.push_back(one.figures);
    if (i == 0) result.clients = std::move(one.clients);
    result.ttft_s.insert(result.ttft_s.end(), one.ttft_s.begin(), one.ttft_s.end());
  }
  complete(result);
  return result;
}

BenchResult Bench::find_capacity(const Contestant& contestant) {
  BenchResult result;
  result.contestant = contestant;
  CapacitySearch search = options_.search;
  search.low_qps = options_.low_qps.value_or(0.5 * limit_qps());
  search.high_qps = options_.high_qps.value_or(std::max(1.2 * limit_qps(), 2 * search.low_qps));
  if (options_.high_qps && !options_.low_qps) search.low_qps = 0.5 * search.high_qps;
  search.fixed_low = options_.low_qps.has_value();
  search.fixed_high = options_.high_qps.has_value();
  double sum = 0;
  for (std::size_t i = 0; i < options_.seeds; ++i) {
    const std::uint64_t seed = options_.seed + i;
    std::map<double, Run> runs;  // by rate
    const Capacity capacity = node::find_capacity(
        search, [&](double qps) { return (runs[qps] = run(contestant, qps, seed)).figures; });
    const double shown_qps = capacity.qps > 0 ? capacity.qps : runs.begin()->first;
    Run& shown = runs.at(shown_qps);
    result.ttft_s.insert(result.ttft_s.end(), shown.ttft_s.begin(), shown.ttft_s.end());
    if (i == 0) result.clients = std::move(shown.clients);
    result.by_seed.push_back(capacity.figures);
    result.capacity_by_seed.push_back(capacity.qps);
    sum += capacity.qps;
    if (!capacity.note.empty()) {
      result.notes.push_back(
          fmt::format("{}, seed {}: {}", contestant.label(), seed, capacity.note));
    }
  }
  result.capacity_qps = sum / static_cast<double>(options_.seeds);
  complete(result);
  return result;
}

double Bench::limit_qps() const {
  const Seeded& first = seeded_.at(options_.seed);
  return engine_limit_qps(first.workload, first.warmup, options_.fleet);
}

void Bench::ended() {
  std::lock_guard lock(progress_mutex_);
  ++runs_;
}

void Bench::tell(std::size_t ended, std::size_t of, const std::string& what) {
  std::lock_guard lock(progress_mutex_);
  if (!progress_) {
    if (Wall::now() - started_ < kQuiet) return;
    progress_.emplace(stderr, expected_runs_ * kProgressParts);
  }
  said_ = fmt::format("run {}: {}", runs_ + 1, what);
  progress_->show(runs_ * kProgressParts + kProgressParts * ended / of, said_);
}

void Bench::finish() {
  if (progress_) progress_->finish(expected_runs_ * kProgressParts, said_);
}

}  // namespace dualmesh::node
