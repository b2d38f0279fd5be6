#include "tests/sim/swarm_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/checkers.h"
#include "tests/sim/faults.h"
#include "tests/sim/workload.h"

namespace dualmesh::sim {
namespace {

constexpr double kJoinMs = 20'000;
constexpr double kWatchEveryMs = 500;
// Links are dialled again every 2 s, a lost row of a table is sent again every 10 s, and a clock
// that was ahead makes the others wait for it.
constexpr double kAgreementMs = 30'000;
constexpr double kLookEveryMs = 50;
constexpr double kTellEveryMs = 1'000;

class Run {
 public:
  explicit Run(std::uint64_t seed)
      : scenario_(draw_scenario(seed)),
        dice_(seed ^ 0xd1ce),
        cluster_(seed),
        workload_(cluster_, dice_) {
    result_.seed = seed;
    build(scenario_, cluster_);
  }

  SeedResult go() {
    Checkers checkers(scenario_, cluster_, workload_);
    result_.problem = join();
    if (result_.problem.empty()) result_.problem = trouble(checkers);
    if (result_.problem.empty()) result_.problem = agree(checkers, "after healing");
    if (result_.problem.empty()) result_.problem = end(checkers);
    finish();
    return std::move(result_);
  }

 private:
  std::string join() {
    cluster_.start_all();
    const double took = cluster_.run_until([this] { return cluster_.all_ready(); }, kJoinMs, 50);
    return took < 0 ? "not all nodes became ready" : "";
  }

  std::string trouble(Checkers& checkers) {
    Faults faults(scenario_, cluster_, dice_,
                  {[this](std::size_t node) { node_ends(node); },
                   [this](std::size_t node, std::size_t rows) { workload_.burst(node, rows); }});
    const double end = cluster_.now_ms() + scenario_.trouble_ms;
    double change = cluster_.now_ms();
    double look = cluster_.now_ms();
    std::string problem;
    while (cluster_.now_ms() < end && problem.empty()) {
      faults.tick();
      const double now = cluster_.now_ms();
      if (now >= change) {
        workload_.change();
        change = now + dice_.gap_ms(scenario_.changes_per_s);
      }
      if (now >= look) {
        problem = checkers.watch();
        look = now + kWatchEveryMs;
      }
      const double next = std::min({change, look, end, faults.next_ms()});
      cluster_.run_for(std::max(next - cluster_.now_ms(), 0.01));
    }
    faults.end_all();
    result_.coverage.note(Happened::partitions, checkers.partitions());
    checkers.expect_cut(faults.standing_cut());
    result_.coverage += faults.seen();
    result_.story = faults.story();
    return problem;
  }

  std::string agree(Checkers& checkers, const char* when) {
    double told = cluster_.now_ms();
    const double took = cluster_.run_until(
        [&] {
          const std::string difference = checkers.difference();
          if (cluster_.now_ms() - told >= kTellEveryMs) {
            told = cluster_.now_ms();
            result_.story += fmt::format("{:9.1f} ms: {}\n", told, difference);
          }
          return difference.empty();
        },
        kAgreementMs, kLookEveryMs);
    if (took < 0) return fmt::format("{}: {}", when, checkers.difference());
    result_.agreement_ms = std::max(result_.agreement_ms, took);
    return checkers.watch();
  }

  // The last word on every instance is an administrator's, and all requests come to their end.
  std::string end(Checkers& checkers) {
    for (int i = 0; i < 5; ++i) workload_.change();
    workload_.finish_requests();
    // Long enough for what was erased to be collected.
    cluster_.run_for(1'500);
    std::string problem = agree(checkers, "after the end of all requests");
    result_.coverage.note(Happened::ring_generations, agreed_generation() - 1);
    if (problem.empty()) problem = checkers.leftovers();
    return problem.empty() ? workload_.disobeyed() : problem;
  }

  std::uint32_t agreed_generation() {
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.node(i).up()) return cluster_.node(i).mesh->view()->parameters.generation;
    }
    return 1;
  }

  void node_ends(std::size_t node) {
    result_.coverage.note(*cluster_.node(node).mesh);
    workload_.forget(node);
  }

  void finish() {
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.node(i).up()) result_.coverage.note(*cluster_.node(i).mesh);
    }
    result_.coverage.note(cluster_.network());
    result_.coverage.note(Happened::removals, workload_.removals());
    result_.trace = cluster_.trace();
    result_.virtual_ms = cluster_.now_ms();
    result_.story =
        fmt::format("{} nodes, {} instances, {:.1f} changes per second, {:.1f} % loss\n",
                    scenario_.nodes, scenario_.instances, scenario_.changes_per_s,
                    100 * scenario_.loss) +
        result_.story;
  }

  Scenario scenario_;
  Dice dice_;
  SimCluster cluster_;
  Workload workload_;
  SeedResult result_;
};

}  // namespace

SeedResult run_seed(std::uint64_t seed) { return Run(seed).go(); }

}  // namespace dualmesh::sim
