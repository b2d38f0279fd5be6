// Small fleets and workloads for the tests of the simulator.
#pragma once

#include <doctest/doctest.h>

#include "node/replay/generators.h"
#include "node/simulator/presets.h"
#include "node/simulator/simulation.h"

namespace dualmesh::node {

inline SimulationSettings small_fleet(std::size_t instances, const std::string& policy) {
  SimulationSettings settings;
  settings.instances = instances;
  settings.engine = engine_of(presets().front());
  settings.scheduler.policy = policy;
  return settings;
}

inline SimulationOutcome simulated(const SimulationSettings& settings, const Workload& workload) {
  return Simulation(settings, workload).run();
}

// Thirty prefixes, some of them popular.
inline Workload steady(std::size_t requests, double qps) {
  return generate("zipf:prefixes=30", {.requests = requests, .qps = qps, .seed = 2});
}

inline std::size_t failed(const SimulationOutcome& outcome) {
  std::size_t count = 0;
  for (const SimRequest& request : outcome.requests) count += request.failed;
  return count;
}

// Every request has ended one way, and nothing is held.
inline void check_all_over(const SimulationOutcome& outcome) {
  CHECK(outcome.held_at_end == 0);
  for (const SimRequest& request : outcome.requests) {
    CHECK((request.failed || request.rejected) == (request.e2e_s == SimRequest::kNever));
    CHECK((request.ttft_s == SimRequest::kNever) == (request.e2e_s == SimRequest::kNever));
  }
}

}  // namespace dualmesh::node
