#include <doctest/doctest.h>

#include <algorithm>

#include "node/simulator/turn_audit.h"
#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

using policies::Time;

Time at_ms(int ms) { return Time(std::chrono::milliseconds(ms)); }

TEST_CASE("the onlooker counts the time that an instance idles beside any waiting request") {
  TurnAudit audit(2, 4);
  audit.placed(0, 0, at_ms(10));
  audit.placed(1, 0, at_ms(40));
  audit.sent(1, 0, at_ms(40));  // the later one goes at once, after 30 ms in which 0 could have
  CHECK(audit.idle_s(at_ms(40)) == doctest::Approx(0.030));
  audit.served(0, at_ms(100));
  audit.sent(0, 0, at_ms(145));
  CHECK(audit.idle_s(at_ms(145)) == doctest::Approx(0.045));
  audit.served(0, at_ms(1'000));  // nobody waits from here on
  audit.placed(2, 0, at_ms(2'000));
  audit.placed(2, 1, at_ms(2'010));  // moved: the first has nobody again
  audit.gone(2, at_ms(2'020));
  audit.placed(3, 0, at_ms(9'000));
  audit.sent(3, 0, at_ms(9'000));
  CHECK(audit.idle_s(at_ms(9'000)) == doctest::Approx(0.045));
  CHECK(audit.most_running() == 1);
}

TEST_CASE("the onlooker does not blame anybody for an instance that is down") {
  TurnAudit audit(1, 2);
  audit.placed(0, 0, at_ms(0));
  audit.sent(0, 0, at_ms(0));
  audit.placed(1, 0, at_ms(1));
  audit.down(0, true, at_ms(2));
  audit.served(0, at_ms(2));
  audit.down(0, false, at_ms(900));
  audit.sent(1, 0, at_ms(907));
  CHECK(audit.idle_s(at_ms(907)) == doctest::Approx(0.007));
}

TEST_CASE("the onlooker counts the time that an instance idles and nobody ever ends") {
  TurnAudit audit(2, 1);
  audit.placed(0, 1, at_ms(10));
  CHECK(audit.idle_s(at_ms(10)) == 0);
  CHECK(audit.idle_s(at_ms(3'010)) == doctest::Approx(3.0));
  audit.gone(0, at_ms(4'010));
  CHECK(audit.idle_s(at_ms(9'000)) == doctest::Approx(4.0));
}

TEST_CASE("the onlooker counts whoever is sent beside one that runs and one sent ahead") {
  TurnAudit audit(1, 4);
  for (std::size_t request = 0; request < 4; ++request) audit.sent(request, 0, at_ms(1));
  CHECK(audit.most_running() == 4);
  CHECK(audit.overshoots() == 2);
}

// Sixteen routers that hear of each other after `delay`, close to what the instances can do.
SimulationOutcome mesh_of_16(const std::string& policy, const std::string& workload, double qps,
                             policies::Duration delay, std::uint64_t seed) {
  SimulationSettings settings = small_fleet(4, policy);
  settings.routers = 16;
  settings.view_delay = settings.kv_delay = delay;
  settings.seed = seed;
  return simulated(settings, generate(workload, {.requests = 2000, .qps = qps, .seed = seed}));
}

struct Load {
  const char* workload;
  double qps;
};

// What is sent together is meant to be more than two.
constexpr const char* kOneByOne = "dualmesh@slo:batch_tokens=0";

TEST_CASE("no instance idles for more than 50 ms while work waits for it anywhere in the mesh") {
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    for (const Load& load : {Load{"multi-turn", 14}, Load{"rag", 18}}) {
      CAPTURE(seed);
      CAPTURE(load.workload);
      for (const char* policy : {"dualmesh", kOneByOne}) {
        CAPTURE(policy);
        const SimulationOutcome outcome =
            mesh_of_16(policy, load.workload, load.qps, std::chrono::milliseconds(10), seed);
        CHECK(outcome.idle_waiting_s <= 0.050);
        // At most one more of each node.
        if (policy == kOneByOne) CHECK(outcome.most_running <= 2 + 16);
        CHECK(outcome.held_at_end == 0);
      }
    }
  }
}

TEST_CASE("what the onlooker says of nodes that do not know of each other is worse") {
  const auto alone = std::chrono::hours(1);
  const SimulationOutcome blind = mesh_of_16(kOneByOne, "multi-turn", 14.0, alone, 1);
  const SimulationOutcome seeing =
      mesh_of_16(kOneByOne, "multi-turn", 14.0, std::chrono::milliseconds(10), 1);
  MESSAGE("overshoots " << blind.overshoots << " against " << seeing.overshoots);
  CHECK(blind.overshoots > 3 * seeing.overshoots);
}

TEST_CASE("sixteen routers that have just begun, and know no depths yet, leave no instance idle") {
  SimulationSettings settings = small_fleet(8, "dualmesh");
  settings.routers = 16;
  settings.view_delay = settings.kv_delay = std::chrono::milliseconds(20);
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    CAPTURE(seed);
    settings.seed = seed;
    const Workload workload = generate("rag", {.requests = 300, .qps = 10, .seed = seed});
    const SimulationOutcome outcome = simulated(settings, workload);
    const auto late = std::ranges::count_if(
        outcome.requests, [](const SimRequest& request) { return request.ttft_s > 5; });
    CHECK(late <= 15);  // by the candidates of the rings alone it was half of them
  }
}

}  // namespace
}  // namespace dualmesh::node
