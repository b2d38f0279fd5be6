// One seed of the swarm: a scenario run to its end, and the verdict.
//
//   start -> a minute of changes and faults, watched -> heal, silence -> agreement within a bound
//         -> last commands and the end of all requests -> agreement again, nothing left over
//
// Threads: one run at a time per thread.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/coverage.h"

namespace dualmesh::sim {

struct SeedResult {
  std::uint64_t seed = 0;
  std::string problem;  // empty: all is well
  std::string story;    // the scenario and its faults, for people
  std::uint64_t trace = 0;
  double virtual_ms = 0.0;
  double agreement_ms = 0.0;  // from healing until everything agreed
  Coverage coverage;
};

SeedResult run_seed(std::uint64_t seed);

}  // namespace dualmesh::sim
