// Whole fleets in virtual time. Where the bounds come from:
//
// A session has 6 turns of 4 new blocks on average, so its prompts hold 1 + 4k blocks, k = 1..6: 90
// in all, of which 24 are new. At most 66 of 90, 73 %, can be found in a cache. With 8 instances in
// turn a block is found at the next only if one of the session's earlier turns fell there: about
// 1, 2, .. 5 chances in 8 for prefixes of 1, 5, .. 21 blocks, less whatever was lost between; the
// shared first block is found everywhere. That is around a quarter.
//
// 8 instances compute 8 / 160 us = 50,000 tokens a second. At 1.5 sessions a second 1.5 x 90 x 512
// = 69,000 tokens arrive: three quarters of it computed are 52,000, more than the fleet can do;
// with 27 % computed, 19,000, it is at 40 %.
#include <doctest/doctest.h>

#include "tests/policies/fleet_sim.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

FleetSimResult run(const std::string& policy, std::size_t routers, unsigned seed,
                   double sessions_per_s = 1.5) {
  FleetSimSettings settings;
  settings.policy = policy;
  settings.routers = routers;
  settings.seed = seed;
  settings.sessions_per_s = sessions_per_s;
  settings.until = 300s;
  settings.warm_up = 60s;
  const FleetSimResult result = FleetSim(settings).run();
  MESSAGE(policy << ", " << routers << " routers, seed " << seed << ": " << result.requests
                 << " requests, hit ratio " << result.hit_ratio << " of " << result.ideal_hit_ratio
                 << ", attainment " << result.attainment << ", load CV " << result.load_cv
                 << ", migrations " << result.migrations);
  CHECK(result.requests > 1'000);
  CHECK(result.unserved == 0);
  return result;
}

}  // namespace

TEST_CASE("dualmap finds nearly all there is to find and serves in time where round robin fails") {
  for (const unsigned seed : {1U, 2U}) {
    const FleetSimResult turns = run("round_robin", 1, seed);
    const FleetSimResult dualmap = run("dualmap", 1, seed);
    CHECK(turns.hit_ratio > 0.2);
    CHECK(turns.hit_ratio < 0.3);
    CHECK(turns.attainment < 0.7);
    CHECK(dualmap.ideal_hit_ratio == doctest::Approx(0.73).epsilon(0.03));
    CHECK(dualmap.hit_ratio > 0.97 * dualmap.ideal_hit_ratio);
    CHECK(dualmap.attainment > 0.98);
  }
}

TEST_CASE("eight routers that share load, placements and depth do as well as one") {
  const FleetSimResult one = run("dualmap", 1, 3);
  const FleetSimResult eight = run("dualmap", 8, 3);
  CHECK(eight.hit_ratio > 0.97 * one.hit_ratio);
  CHECK(eight.attainment > one.attainment - 0.02);
  CHECK(eight.load_cv < one.load_cv + 0.05);
}

TEST_CASE("near saturation the queue, the SLO rule and rebalancing keep the load even") {
  // 3 sessions a second are 138,000 tokens, 37,000 of them new: 75 % of what the fleet can do.
  const FleetSimResult result = run("dualmap", 1, 4, 3.0);
  CHECK(result.hit_ratio > 0.9 * result.ideal_hit_ratio);
  CHECK(result.attainment > 0.9);
  CHECK(result.load_cv < 0.1);
  CHECK(result.migrations > 0);
}

TEST_CASE("the same seed gives the same run") {
  FleetSimSettings settings;
  settings.routers = 3;
  settings.until = 60s;
  settings.warm_up = 10s;
  const FleetSimResult one = FleetSim(settings).run();
  const FleetSimResult two = FleetSim(settings).run();
  CHECK(one.requests == two.requests);
  CHECK(one.hit_ratio == two.hit_ratio);
  CHECK(one.load_cv == two.load_cv);
  settings.seed = 2;
  CHECK(FleetSim(settings).run().load_cv != one.load_cv);
}
