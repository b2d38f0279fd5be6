// Requests that one router hands to another because it does not reach an instance itself.
#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

using What = FleetChange::What;
using std::chrono::milliseconds;
using std::chrono::seconds;

SimulationSettings push_mesh(std::size_t instances, std::size_t routers,
                           const std::string& policy = "selective_push") {
  SimulationSettings settings = small_fleet(instances, policy);
  settings.routers = routers;
  settings.view_delay = settings.kv_delay = milliseconds(10);
  return settings;
}

FleetChange cut(std::uint32_t router, std::uint32_t instance, seconds at = seconds(0)) {
  return {What::is_cut_off, instance, at, router};
}

double mean_ttft(const SimulationOutcome& outcome) {
  double sum = 0;
  for (const SimRequest& request : outcome.requests) sum += request.ttft_s;
  return sum / static_cast<double>(outcome.requests.size());
}

TEST_CASE("a hop costs the way there and the way back, and nothing else") {
  // Far apart, so that each is alone at the one instance.
  const Workload workload = steady(40, 0.02);
  SimulationSettings settings = push_mesh(1, 2);
  settings.instance_delay = milliseconds(50);
  const SimulationOutcome whole = simulated(settings, workload);
  CHECK(whole.handed == 0);
  settings.changes = {cut(0, 0)};
  const SimulationOutcome outcome = simulated(settings, workload);
  check_all_over(outcome);
  std::size_t hops = 0;
  for (std::size_t i = 0; i < workload.requests.size(); ++i) {
    const SimRequest& direct = whole.requests[i];
    const SimRequest& request = outcome.requests[i];
    CHECK(request.router == 1);
    if (request.arrival_s < 2) continue;  // nobody knows of the cut yet
    const double way_s = direct.router == 0 ? 0.1 : 0.0;
    hops += direct.router == 0;
    // Two may meet in one iteration of the engine.
    CHECK(std::abs(request.ttft_s - direct.ttft_s - way_s) < 0.002);
    CHECK(std::abs(request.e2e_s - direct.e2e_s - way_s) < 0.002);
  }
  CHECK(hops > 10);
  CHECK(outcome.handed >= hops);
}

TEST_CASE("where every router reaches every instance nobody hops") {
  const Workload workload = steady(800, 8);
  const SimulationOutcome outcome = simulated(push_mesh(3, 4), workload);
  const SimulationOutcome without = simulated(push_mesh(3, 4, "selective_push:hops=0"), workload);
  CHECK(outcome.handed == 0);
  for (std::size_t i = 0; i < workload.requests.size(); ++i) {
    CHECK(outcome.requests[i].e2e_s == without.requests[i].e2e_s);
  }
}

TEST_CASE("a router that reaches half of the instances gains by handing over") {
  const Workload workload = steady(1500, 18);
  const auto run = [&](const std::string& policy) {
    SimulationSettings settings = push_mesh(4, 2, policy);
    settings.changes = {cut(0, 2), cut(0, 3)};
    return simulated(settings, workload);
  };
  const SimulationOutcome with = run("selective_push");
  const SimulationOutcome without = run("selective_push:hops=0");
  check_all_over(with);
  check_all_over(without);
  CHECK(failed(with) == 0);
  CHECK(with.handed > 50);
  CHECK(without.handed == 0);
  MESSAGE("mean TTFT ", mean_ttft(with), " s with hops, ", mean_ttft(without), " s without; ",
          with.handed, " handed over");
  CHECK(mean_ttft(with) < mean_ttft(without));
}

TEST_CASE("a request whose router cannot reach anything is not lost") {
  const Workload workload = steady(600, 6);
  SimulationSettings settings = push_mesh(2, 3);
  settings.changes = {cut(0, 0, seconds(20)), cut(0, 1, seconds(20))};
  const SimulationOutcome outcome = simulated(settings, workload);
  check_all_over(outcome);
  for (const SimRequest& request : outcome.requests) {
    CHECK_FALSE(request.rejected);
    if (request.failed) CHECK(request.arrival_s < 20);  // was being answered
    if (request.arrival_s > 20) CHECK(request.router != 0);
  }
  CHECK(outcome.handed > 100);
}

TEST_CASE("whatever fails on a hop's way, each request ends once and nothing is held") {
  const Workload workload = steady(400, 8);
  std::uint64_t handed = 0;
  std::size_t lost = 0;
  for (unsigned seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    SimulationSettings settings = push_mesh(3, 4);
    settings.seed = seed;
    settings.instance_delay = milliseconds(random() % 300);
    settings.view_delay = milliseconds(random() % 200);
    settings.changes = {cut(0, 0), cut(0, 1), cut(1, 1), cut(2, 2)};
    const auto at = [&] { return milliseconds(5'000 + random() % 35'000); };
    settings.changes.push_back({What::router_fails, 3, at()});
    settings.changes.push_back(
        {What::router_fails, static_cast<std::uint32_t>(random() % 3), at()});
    const policies::Time fails = at();
    settings.changes.push_back({What::fails, 2, fails});
    settings.changes.push_back({What::returns, 2, fails + seconds(5)});
    REQUIRE(check_changes(settings.changes, 3, 4) == "");
    const SimulationOutcome outcome = simulated(settings, workload);
    check_all_over(outcome);
    handed += outcome.handed;
    lost += failed(outcome);
  }
  CHECK(handed > 300);
  CHECK(lost > 30);
}

TEST_CASE("cuts are read as written, and impossible ones refused") {
  CHECK(*parse_change("cut:0-3@100") == cut(0, 3, seconds(100)));
  for (const char* wrong :
       {"cut:0@1", "cut:0-@1", "cut:-1@1", "cut:0-1-2@1", "cut:0-1", "fail:0-1@1", "cut:a-1@1"}) {
    CAPTURE(wrong);
    CHECK(parse_change(wrong).has_error());
  }
  CHECK(check_changes(std::vector{cut(0, 1), cut(1, 1)}, 2, 2) == "");
  CHECK(check_changes(std::vector{cut(2, 1)}, 2, 2) == "there is no router 2; allowed: 0 to 1");
  CHECK(check_changes(std::vector{cut(0, 2)}, 2, 2) == "there is no instance 2; allowed: 0 to 1");
  CHECK(check_changes(std::vector{cut(0, 1), cut(0, 1)}, 2, 2) ==
        "router 0 is cut off from instance 1 twice");
}

}  // namespace
}  // namespace dualmesh::node
