#include <doctest/doctest.h>

#include <set>

#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

using What = FleetChange::What;
using std::chrono::seconds;

SimulationSettings mesh_of(std::size_t instances, std::size_t routers) {
  SimulationSettings settings = small_fleet(instances, "dualmap");
  settings.routers = routers;
  settings.view_delay = std::chrono::milliseconds(100);
  settings.kv_delay = std::chrono::milliseconds(100);
  return settings;
}

// Requests that arrived in [from, to) and were answered by the instance.
std::size_t served(const SimulationOutcome& outcome, policies::Slot instance, double from_s,
                   double to_s) {
  std::size_t count = 0;
  for (const SimRequest& request : outcome.requests) {
    count += request.instance == instance && request.arrival_s >= from_s &&
             request.arrival_s < to_s && !request.failed;
  }
  return count;
}

TEST_CASE("an instance that joins is used from then on, by all routers") {
  const Workload workload = steady(600, 6);
  for (const std::size_t routers : {1u, 4u}) {
    SimulationSettings settings = mesh_of(3, routers);
    settings.changes = {{What::joins, 1, seconds(40)}};
    const SimulationOutcome outcome = simulated(settings, workload);
    check_all_over(outcome);
    CHECK(failed(outcome) == 0);
    CHECK(served(outcome, 1, 0, 39) == 0);
    std::set<std::uint16_t> users;
    for (const SimRequest& request : outcome.requests) {
      if (request.instance == 1 && request.arrival_s > 41) users.insert(request.router);
    }
    CHECK(users.size() == routers);
    CHECK(served(outcome, 1, 41, 100) > 40);
  }
}

TEST_CASE("an instance that drains finishes what it has and gets nothing new") {
  const Workload workload = steady(600, 6);
  SimulationSettings settings = mesh_of(3, 4);
  settings.changes = {{What::drains, 2, seconds(40)}};
  const SimulationOutcome outcome = simulated(settings, workload);
  check_all_over(outcome);
  CHECK(failed(outcome) == 0);
  CHECK(served(outcome, 2, 0, 40) > 40);
  CHECK(served(outcome, 2, 40.2, 1000) == 0);
}

TEST_CASE("an instance that fails loses who had begun to read, and nobody else") {
  const Workload workload = steady(600, 6);
  SimulationSettings settings = mesh_of(3, 4);
  const SimulationOutcome whole = simulated(settings, workload);
  std::size_t reading = 0;
  for (const SimRequest& request : whole.requests) {
    reading += request.instance == 1 && request.arrival_s + request.ttft_s < 40 &&
               request.arrival_s + request.e2e_s > 40;
  }
  settings.changes = {{What::fails, 1, seconds(40)}, {What::returns, 1, seconds(60)}};
  const SimulationOutcome outcome = simulated(settings, workload);
  check_all_over(outcome);
  REQUIRE(reading > 0);
  CHECK(failed(outcome) == reading);
  for (std::size_t i = 0; i < whole.requests.size(); ++i) {  // what was over by then is the same
    const SimRequest& request = whole.requests[i];
    if (request.arrival_s + request.e2e_s < 40) CHECK(outcome.requests[i].e2e_s == request.e2e_s);
  }
  CHECK(served(outcome, 1, 40, 59) == 0);
  CHECK(served(outcome, 1, 61, 100) > 20);
  // It came back empty: its first request after that computes all of its prompt.
  for (const SimRequest& request : outcome.requests) {
    if (request.instance != 1 || request.arrival_s < 60) continue;
    CHECK(request.cached_tokens == 0);
    break;
  }
  // Whatever it computed before its failure still counts.
  CHECK(outcome.instances[1].admitted > served(outcome, 1, 61, 1000) + 40);
}

TEST_CASE("when the only instance fails, requests are rejected until it is back") {
  const Workload workload = steady(300, 3);
  SimulationSettings settings = mesh_of(1, 2);
  settings.changes = {{What::fails, 0, seconds(30)}, {What::returns, 0, seconds(50)}};
  const SimulationOutcome outcome = simulated(settings, workload);
  check_all_over(outcome);
  std::size_t rejected = 0;
  for (const SimRequest& request : outcome.requests) {
    if (request.rejected) {
      ++rejected;
      CHECK(request.arrival_s > 25);
      CHECK(request.arrival_s < 50);
    }
  }
  CHECK(rejected > 30);
  CHECK(served(outcome, 0, 52, 1000) > 50);
}

TEST_CASE("a router that fails takes its requests with it; the others go on") {
  const Workload workload = steady(600, 6);
  SimulationSettings settings = mesh_of(3, 3);
  settings.changes = {{What::router_fails, 1, seconds(40)}};
  const SimulationOutcome outcome = simulated(settings, workload);
  check_all_over(outcome);
  CHECK(failed(outcome) > 0);
  for (const SimRequest& request : outcome.requests) {
    if (request.failed) CHECK(request.router == 1);
    if (request.arrival_s > 40) {
      CHECK(request.router != 1);
      CHECK_FALSE(request.failed);
    }
  }
}

TEST_CASE("changes are read as written, and impossible ones refused") {
  CHECK(*parse_change("join:6@120") == FleetChange{What::joins, 6, seconds(120)});
  CHECK(*parse_change("fail-router:0@0.5") ==
        FleetChange{What::router_fails, 0, std::chrono::milliseconds(500)});
  for (const char* wrong : {"", "join", "join:6", "join@6:1", "melt:1@2", "join:x@1", "join:1@",
                            "join:-1@4", "join:1@-4", "join:1@nan", "join:1@4s"}) {
    CAPTURE(wrong);
    CHECK(parse_change(wrong).has_error());
  }
  const auto check = [](std::vector<FleetChange> changes) { return check_changes(changes, 2, 2); };
  CHECK(check({{What::joins, 1, seconds(1)}, {What::fails, 1, seconds(2)}}) == "");
  CHECK(check({{What::joins, 2, seconds(1)}}) == "there is no instance 2; allowed: 0 to 1");
  CHECK(check({{What::router_fails, 2, seconds(1)}}) == "there is no router 2; allowed: 0 to 1");
  CHECK(check({{What::returns, 0, seconds(1)}}) ==
        "instance 0 has not failed, so it cannot return");
  CHECK(check({{What::drains, 0, seconds(1)}, {What::fails, 0, seconds(2)}}) ==
        "instance 0 is not there to fail");
  CHECK(check({{What::joins, 0, seconds(1)}, {What::joins, 0, seconds(2)}}) ==
        "instance 0 joins twice");
  CHECK(check({{What::joins, 0, seconds(1)}, {What::joins, 1, seconds(2)}}) ==
        "at least one instance must be there from the start");
  CHECK(check({{What::router_fails, 0, seconds(1)}, {What::router_fails, 1, seconds(2)}}) ==
        "one router must be left");
}

}  // namespace
}  // namespace dualmesh::node
