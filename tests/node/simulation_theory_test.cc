// The simulator against queueing theory: fleets stripped to what has a closed form.
//
// One request at a time per instance, nothing shared, no decoding: a request is one iteration as
// long as its prompt. Each figure is the mean of independent runs; it must lie within five standard
// errors of the theory, and the standard error must be small enough to mean something. Seeds are
// fixed, so a test either always passes or never does.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

constexpr double kServiceTokens = 4000;
constexpr double kService_s = 0.04;

SimulationSettings bare_fleet(std::size_t instances, const std::string& policy) {
  SimulationSettings settings = small_fleet(instances, policy);
  settings.engine.min_iteration = policies::Duration(1);
  settings.engine.prefill_per_token = policies::from_seconds(kService_s / kServiceTokens);
  settings.engine.token_budget = 1u << 24;
  settings.engine.max_running = 1;
  settings.scheduler.queue = "none";
  return settings;
}

struct Estimate {
  double mean = 0;
  double error = 0;
};

// Mean time in the system, in mean service times.
Estimate time_in_system(const SimulationSettings& settings, double utilisation, double spread,
                        std::size_t requests, std::size_t runs) {
  std::vector<double> means;
  for (std::size_t run = 0; run < runs; ++run) {
    const double qps = utilisation * static_cast<double>(settings.instances) / kService_s;
    Workload workload =
        generate(fmt::format("uniform:input_tokens={},spread={}", kServiceTokens, spread),
                 {.requests = requests, .qps = qps, .seed = 100 + run});
    for (ReplayRequest& request : workload.requests) request.output_tokens = 1;
    SimulationSettings seeded = settings;
    seeded.seed = 200 + run;
    const SimulationOutcome outcome = simulated(seeded, workload);
    double sum = 0;
    for (std::size_t i = requests / 10; i < requests; ++i) sum += outcome.requests[i].e2e_s;
    means.push_back(sum / static_cast<double>(requests - requests / 10) / kService_s);
  }
  Estimate estimate;
  for (const double mean : means) estimate.mean += mean / static_cast<double>(runs);
  for (const double mean : means) estimate.error += std::pow(mean - estimate.mean, 2);
  estimate.error = std::sqrt(estimate.error / static_cast<double>(runs * (runs - 1)));
  return estimate;
}

void check_near(const Estimate& estimate, double theory, double bias = 0) {
  CAPTURE(estimate.mean);
  CAPTURE(estimate.error);
  CAPTURE(theory);
  CHECK(estimate.error < 0.03 * theory);
  CHECK(std::abs(estimate.mean - theory) < 5 * estimate.error + bias * theory);
}

TEST_CASE("M/D/1: equal services wait half as long as exponential ones") {
  for (const double rho : {0.5, 0.8}) {
    const Estimate estimate = time_in_system(bare_fleet(1, "round_robin"), rho, 0, 20'000, 8);
    check_near(estimate, 1 + rho / (2 * (1 - rho)));
  }
}

TEST_CASE("M/M/1: the time in the system is one service over the idle share") {
  for (const double rho : {0.5, 0.7}) {
    const Estimate estimate = time_in_system(bare_fleet(1, "round_robin"), rho, 1, 30'000, 10);
    check_near(estimate, 1 / (1 - rho));
  }
}

TEST_CASE("random placement makes every instance an M/M/1 queue") {
  const double rho = 0.7;
  const Estimate estimate = time_in_system(bare_fleet(16, "random"), rho, 1, 40'000, 8);
  check_near(estimate, 1 / (1 - rho));
}

// Mitzenmacher: with many instances the sum over i >= 1 of rho^(2^i - 2). With 64 of them the
// difference to infinitely many is a few percent.
TEST_CASE("the shorter of two random queues: the supermarket model") {
  const double rho = 0.8;
  double theory = 0;
  for (int i = 1; i < 12; ++i) theory += std::pow(rho, std::pow(2.0, i) - 2);
  const Estimate estimate = time_in_system(bare_fleet(64, "power_of_two"), rho, 1, 60'000, 3);
  check_near(estimate, theory, 0.04);
  CHECK(estimate.mean < 0.6 / (1 - rho));  // random placement is 1 / (1 - rho)
}

}  // namespace
}  // namespace dualmesh::node
