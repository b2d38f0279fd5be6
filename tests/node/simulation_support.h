// Small fleets and workloads for the tests of the simulator.
#pragma once

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

}  // namespace dualmesh::node
