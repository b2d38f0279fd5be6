// ConvergenceRun: one scripted trouble in a simulated mesh that is being written to all the time,
// and how each node fell behind and caught up, as samples over virtual time.
//
//   partition  the nodes are cut into two halves
//   join       the last node starts when the others have long been running
//   storm      every node's load changes 1,000 times a second
//   restart    a third of the nodes are killed and come back, one after the other
//
// A node has caught up with a trouble when it lacks nothing that was written before the moment from
// which that is measured: the heal, the start of the last node that started, the end of the storm.
// Writing goes on meanwhile and ends `kQuietMs` before the end of the run, when all must agree.
//
// Invariant: a run is a function of its options. Threads: one run at a time per thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/lag_watch.h"

namespace dualmesh::sim {

inline constexpr double kLookMs = 1.0;
inline constexpr double kSampleMs = 20.0;
inline constexpr double kQuietMs = 2'000.0;

struct ConvergenceOptions {
  std::string scenario = "partition";
  std::size_t nodes = 8;
  double seconds = 90.0;
  std::uint64_t seed = 1;
};

struct Trouble {
  std::string name;
  double begins_ms = 0.0;
  double ends_ms = 0.0;
};

struct NodeSample {
  bool up = false;
  std::size_t streams = 0;    // feeds and tables it is behind in
  std::uint64_t changes = 0;  // versions and rows it lacks
  double lag_ms = 0.0;        // age of the oldest of them; all three are the worst since the last
  std::uint64_t bytes = 0;    // that it has sent since the last sample
};

struct DigestCounts {  // different ones among the nodes that run; 1: they agree
  std::size_t rings = 0;
  std::size_t registry = 0;
  std::size_t depth = 0;
  std::size_t load = 0;
};

struct ConvergenceSample {
  double at_ms = 0.0;
  std::vector<NodeSample> nodes;
  DigestCounts distinct;
};

struct NodeOutcome {
  double worst_lag_ms = 0.0;
  double worst_calm_ms = 0.0;      // before the first trouble
  std::uint64_t most_changes = 0;  // that it lacked at once
  std::optional<double> caught_up_ms;
  std::uint64_t bytes = 0;
};

struct Convergence {
  ConvergenceOptions options;
  std::vector<std::string> names;
  std::vector<Trouble> troubles;
  double measured_from_ms = 0.0;
  std::vector<ConvergenceSample> samples;
  std::vector<NodeOutcome> nodes;
  std::optional<double> caught_up_ms;  // of the last node
  std::uint64_t changes = 0;           // made in all
  bool agreed = false;                 // at the end: everybody ready, all states equal
};

bool is_scenario(const std::string& name);
// `progress` is told the virtual time now and then.
Convergence run_convergence(const ConvergenceOptions& options,
                            const std::function<void(double now_ms)>& progress = {});

}  // namespace dualmesh::sim
