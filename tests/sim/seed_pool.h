// SeedPool: runs seeds in processes of their own, as many at a time as asked for.
//
// A process per seed, so that an assertion that fails, a crash or an endless loop is a verdict on
// that seed and costs no other. Results come back through shared memory.
//
// Threads: one; forks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "tests/sim/coverage.h"

namespace dualmesh::sim {

struct SeedVerdict {
  std::uint64_t seed = 0;
  bool good = false;
  std::string problem;
  std::uint64_t trace = 0;
  double virtual_ms = 0.0;
  double agreement_ms = 0.0;
  double cpu_s = 0.0;
  Coverage coverage;
};

struct SeedRange {
  std::uint64_t first = 1;
  std::uint64_t last = 1;
};

SeedRange parse_range(const std::string& text);  // "A..B" or "A"

// `done` is told of each seed, in the order in which they end; false stops: no more are begun.
void run_seeds(SeedRange seeds, std::size_t jobs,
               const std::function<bool(const SeedVerdict&)>& done);

}  // namespace dualmesh::sim
