// The swarm itself: seeds replay, crashes are verdicts, coverage counts.
#include <doctest/doctest.h>

#include <map>

#include "tests/sim/seed_pool.h"
#include "tests/sim/swarm_run.h"

namespace dualmesh::sim {

TEST_CASE("a seed replays exactly, in this process and in others") {
  std::map<std::uint64_t, std::uint64_t> traces;
  run_seeds({101, 104}, 2, [&](const SeedVerdict& verdict) {
    traces[verdict.seed] = verdict.trace;
    return true;
  });
  REQUIRE(traces.size() == 4);
  for (const auto& [seed, trace] : traces) {
    CAPTURE(seed);
    CHECK(trace != 0);
    CHECK(run_seed(seed).trace == trace);
    CHECK(run_seed(seed).trace == trace);
  }
  CHECK(traces.at(101) != traces.at(102));
}

TEST_CASE("each seed lasts a virtual minute with ten faults or more") {
  for (std::uint64_t seed = 200; seed < 206; ++seed) {
    CAPTURE(seed);
    const SeedResult result = run_seed(seed);
    CHECK(result.problem == "");
    CHECK(result.virtual_ms >= 60'000);
    CHECK(result.coverage.all_faults() >= 10);
  }
}

TEST_CASE("what was never exercised is named") {
  Coverage coverage;
  CHECK(coverage.missing().find("partition one way") != std::string::npos);
  coverage.note(FaultKind::partition_one_way);
  CHECK(coverage.missing().find("partition one way") == std::string::npos);
  CHECK(coverage.table().find("refutations") != std::string::npos);
}

}  // namespace dualmesh::sim
