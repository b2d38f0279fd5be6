// SimulationOptions: what simulate, capacity and compare are told on the command line, in one
// place.
//
// A preset gives the engine's constants and the number of instances; whatever else is named on the
// command line takes its place. Everything is checked before anything runs, and each error names
// the flag or the line and what is allowed.
//
// Threads: main.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/error.h"
#include "node/simulator/capacity.h"
#include "node/simulator/simulation.h"

namespace CLI {
class App;
}

namespace dualmesh::node {

struct SimulationOptions {
  std::string trace;
  std::string generate;
  std::string policy = "dualmesh";
  std::string queue;
  std::string preset = "qwen2.5-7b";
  std::vector<std::string> changes;
  std::vector<std::string> client_weights;
  std::vector<std::string> policies;  // of compare: POLICY[@ORDER]
  Selection selection{.requests = 8000, .warmup_qps = 0.3};
  std::vector<std::string> residencies;  // checked; not given: predicted, which rows do not name
  std::optional<std::size_t> warmup;
  std::optional<std::size_t> instances;
  std::optional<double> prefill_us_per_token, min_iteration_ms, decode_us_per_sequence;
  std::optional<std::uint32_t> token_budget, cache_blocks, max_running;
  std::optional<std::uint32_t> assumed_cache_blocks;
  std::optional<double> low_qps, high_qps;  // of the search for capacity
  double rtt_ms = 0;
  double view_delay_ms = 0;
  double kv_delay_ms = 0;
  double placement_ttl_s = 600;
  SimulationSettings fleet;  // settled by settle()
  CapacitySearch search;
  std::uint64_t seed = 1;
  std::size_t seeds = 1;
  std::size_t jobs = 1;  // of compare: policies that run at the same time
  bool json = false;
  std::string json_file;
  std::string csv_file;
  std::string plot_dir;
};

enum class SimulationCommand { simulate, capacity, compare };
void add_simulation_options(CLI::App& app, SimulationCommand command, SimulationOptions& options);

// Empty, or what is wrong; fills `fleet`, `search` and the selection.
std::string settle(SimulationOptions& options, SimulationCommand command);

// What routers know of caches, by its name; empty is predicted.
CacheSight cache_sight_of(const std::string& residency);

// All requests, before the selection. Of a trace it does not depend on the seed.
net::Result<Workload> load_workload(const SimulationOptions& options, std::uint64_t seed);
// Empty, or why this selected workload cannot be run.
std::string check_workload(const SimulationOptions& options, const Workload& selected);

// "a:x=1,y=2,b@fifo" -> {"a:x=1,y=2", "b@fifo"}: a KEY=NUMBER without a colon belongs to what is
// before it.
std::vector<std::string> split_policies(const std::vector<std::string>& pieces);

}  // namespace dualmesh::node
