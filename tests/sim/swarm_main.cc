// mesh_swarm: whole meshes under faults, one scenario per seed.
//
// Prints the coverage table, and for each seed that fails what was wrong and the command that runs
// it again. Exit status 0 when every seed held and nothing required was left out.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <vector>

#include "tests/sim/figures.h"
#include "tests/sim/seed_pool.h"
#include "tests/sim/swarm_run.h"

namespace dualmesh::sim {
namespace {

struct Options {
  std::string program;
  std::string seeds = "1..100";
  std::size_t jobs = 2;
  std::uint64_t seed = 0;
  bool verbose = false;
  bool coverage = false;
  FigureOptions figure;
};

struct Summary {
  std::vector<SeedVerdict> failed;
  std::vector<double> agreement_ms;
  Coverage coverage;
  std::size_t seeds = 0;
  double virtual_s = 0.0;
  double cpu_s = 0.0;
  std::uint64_t fewest_faults = ~std::uint64_t{0};
};

void tell_failure(const Options& options, const SeedVerdict& verdict) {
  fmt::print("seed {} failed: {}\n  again: {} --seed {} --verbose\n", verdict.seed, verdict.problem,
             options.program, verdict.seed);
  std::fflush(stdout);
}

void add(Summary& summary, const SeedVerdict& verdict) {
  ++summary.seeds;
  summary.cpu_s += verdict.cpu_s;
  summary.virtual_s += verdict.virtual_ms / 1e3;
  summary.coverage += verdict.coverage;
  if (!verdict.good) return summary.failed.push_back(verdict);
  summary.agreement_ms.push_back(verdict.agreement_ms);
  summary.fewest_faults = std::min(summary.fewest_faults, verdict.coverage.all_faults());
}

int tell(const Options& options, Summary& summary, double wall_s) {
  fmt::print("{}", summary.coverage.table());
  fmt::print(
      "{} seeds, {} failed; {:.0f} virtual seconds in {:.1f} s ({:.2f} core seconds a seed); at "
      "least {} faults a seed; agreement after healing p50 {:.0f} ms, p99 {:.0f} ms, worst {:.0f} "
      "ms\n",
      summary.seeds, summary.failed.size(), summary.virtual_s, wall_s,
      summary.cpu_s / static_cast<double>(std::max<std::size_t>(summary.seeds, 1)),
      summary.fewest_faults, percentile(summary.agreement_ms, 0.5),
      percentile(summary.agreement_ms, 0.99), percentile(summary.agreement_ms, 1.0));
  for (const SeedVerdict& verdict : summary.failed) tell_failure(options, verdict);
  const std::string missing = summary.coverage.missing();
  if (options.coverage && !missing.empty()) {
    fmt::print("never happened: {}\n", missing);
    return 1;
  }
  return summary.failed.empty() ? 0 : 1;
}

int run_range(const Options& options) {
  const SeedRange range = parse_range(options.seeds);
  Summary summary;
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto begin = std::chrono::steady_clock::now();
  run_seeds(range, options.jobs, [&](const SeedVerdict& verdict) {
    add(summary, verdict);
    if (!verdict.good) tell_failure(options, verdict);
    if (terminal) {
      fmt::print(stderr, "\r{} of {} seeds, {} failed ", summary.seeds,
                 range.last - range.first + 1, summary.failed.size());
    }
    return true;
  });
  if (terminal) fmt::print(stderr, "\r");
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return tell(options, summary, took.count());
}

int run_one(const Options& options) {
  const SeedResult result = run_seed(options.seed);
  if (options.verbose) fmt::print("{}", result.story);
  fmt::print("seed {}: {}; trace {:016x}, {:.1f} virtual s, {} faults, agreed after {:.0f} ms\n",
             options.seed, result.problem.empty() ? "good" : result.problem, result.trace,
             result.virtual_ms / 1e3, result.coverage.all_faults(), result.agreement_ms);
  return result.problem.empty() ? 0 : 1;
}

}  // namespace
}  // namespace dualmesh::sim

int main(int argc, char** argv) {
  dualmesh::sim::Options options;
  options.program = argv[0];
  CLI::App app{"Whole meshes of dualmesh nodes in virtual time, under faults drawn from a seed."};
  app.add_option("--seeds", options.seeds, "range of seeds, A..B")->capture_default_str();
  app.add_option("--jobs", options.jobs, "processes at a time")->capture_default_str();
  app.add_option("--seed", options.seed, "one seed, in this process");
  app.add_flag("--verbose", options.verbose, "with --seed: the scenario and its faults");
  app.add_flag("--coverage", options.coverage, "fail when something required never happened");
  app.add_option("--figure", options.figure.name,
                 "propagation-loss, heal, memory or false-deaths, as JSON");
  app.add_option("--nodes", options.figure.nodes, "of a figure");
  app.add_option("--hours", options.figure.hours, "of memory and false-deaths");
  CLI11_PARSE(app, argc, argv);
  if (!options.figure.name.empty()) {
    options.figure.seed = std::max<std::uint64_t>(options.seed, 1);
    return dualmesh::sim::run_figure(options.figure);
  }
  if (options.seed != 0) return dualmesh::sim::run_one(options);
  return dualmesh::sim::run_range(options);
}
