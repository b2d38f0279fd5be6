// Bench: one workload on one simulated fleet, run under any policy, at any rate, with any seed.
//
// The requests are loaded and cut once (a generator: once per seed); each run copies them and
// rescales their arrivals, so all policies meet the same requests.
//
// Invariant: a run is a pure function of contestant, rate and seed.
// Threads: load() first; then simulate and find_capacity from any.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "node/replay/progress.h"
#include "node/replay/simulation_options.h"

namespace dualmesh::node {

struct Contestant {
  std::string policy;
  std::string queue;          // empty: the policy's own
  std::string residency;      // empty: predicted
  std::string label() const;  // POLICY or POLICY@ORDER, and the residency if it has one
};

struct BenchResult {
  Contestant contestant;
  SimulationFigures figures;  // averaged over the seeds
  std::vector<SimulationFigures> by_seed;
  std::vector<double> ttft_s;          // of all seeds, ascending
  std::optional<double> capacity_qps;  // mean of the seeds
  std::vector<double> capacity_by_seed;
  std::vector<ClientFigures> clients;  // of the first seed
  std::vector<std::string> notes;      // of the searches
};

class Bench {
 public:
  // `expected_runs` is for the progress bar, which appears when it takes longer than a moment.
  Bench(const SimulationOptions& options, std::size_t expected_runs);

  // Empty, or why the workload of the options cannot be used.
  std::string load();

  BenchResult simulate(const Contestant& contestant);
  BenchResult find_capacity(const Contestant& contestant);
  double limit_qps() const;  // of the first seed's workload
  const std::vector<std::string>& notes() const { return notes_; }
  void finish();  // the progress bar, if there is one

 private:
  struct Seeded {
    Workload workload;
    std::size_t warmup = 0;
  };
  struct Run {
    SimulationFigures figures;
    std::vector<double> ttft_s;
    std::vector<ClientFigures> clients;
  };
  std::string load_seed(std::uint64_t seed);
  Run run(const Contestant& contestant, double qps, std::uint64_t seed);
  void ended();
  void tell(std::size_t ended, std::size_t of, const std::string& what);

  const SimulationOptions& options_;
  std::map<std::uint64_t, Seeded> seeded_;
  std::vector<std::string> notes_;
  std::size_t expected_runs_;
  std::mutex progress_mutex_;  // guards what follows
  std::size_t runs_ = 0;
  std::string said_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::optional<Progress> progress_;
};

}  // namespace dualmesh::node
