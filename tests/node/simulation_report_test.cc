#include "node/simulator/simulation_report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace dualmesh::node {
namespace {

// Four requests a second apart, the first a warm-up; computed by hand below.
struct Example {
  SimulationOutcome outcome;
  Workload workload;

  Example() {
    add(0, 9, 9, 0, "w");
    add(1, 1, 3, 0, "a");
    add(2, 2, 5, 1, "a");
    add(3, 0.5, 1, 1, "b");
    outcome.requests[3].cached_tokens = 60;
    outcome.instances.resize(2);
    outcome.migrations = 4;
  }
  void add(double arrival_s, double ttft_s, double e2e_s, policies::Slot instance,
           const std::string& user) {
    SimRequest request;
    request.arrival_s = arrival_s;
    request.ttft_s = ttft_s;
    request.e2e_s = e2e_s;
    request.input_tokens = 100;
    request.output_tokens = 10;
    request.instance = instance;
    outcome.requests.push_back(request);
    workload.requests.push_back({.input_tokens = 100, .output_tokens = 10, .user = user});
  }
  SimulationFigures figures() const {
    return make_figures(outcome, workload, {.slo_ttft_s = 1.5, .warmup = 1, .wall_seconds = 0.25});
  }
};

TEST_CASE("figures by hand") {
  const SimulationFigures f = Example().figures();
  CHECK(f.requests == 3);
  CHECK(f.completed == 3);
  CHECK(f.qps == doctest::Approx(1.0));
  CHECK(f.slo_attainment == doctest::Approx(2.0 / 3));
  CHECK(f.hit_ratio == doctest::Approx(60.0 / 300));
  CHECK(f.prompt_tokens == 300);
  CHECK(f.prefill_tokens_computed == 240);
  CHECK(f.load_cv == doctest::Approx(20.0 / 120));  // 100 and 140
  CHECK(f.ttft_mean == doctest::Approx(3.5 / 3));
  CHECK(f.ttft_p50 == 1.0);
  CHECK(f.ttft_max == 2.0);
  CHECK(f.ttft_hit_p50 == 0.5);
  CHECK(f.ttft_miss_p50 == 1.0);
  CHECK(f.e2e_p99 == 5.0);
  CHECK(f.goodput_qps == doctest::Approx(2.0 / 6));  // from 1 s to 7 s
  CHECK(f.output_tokens_per_s == doctest::Approx(5.0));
  CHECK(f.migrations == 4);
  CHECK(f.wall_seconds == 0.25);
}

TEST_CASE("without an answer times are infinite, null in JSON, and stay in the denominator") {
  Example example;
  SimRequest& lost = example.outcome.requests[2];
  lost.ttft_s = lost.e2e_s = SimRequest::kNever;
  SimulationFigures f = example.figures();
  CHECK(f.failed == 1);
  CHECK(f.rejected == 0);
  lost.rejected = true;
  lost.instance = policies::kNoSlot;
  f = example.figures();
  CHECK(f.failed == 0);
  CHECK(f.rejected == 1);
  CHECK(f.requests == 3);
  CHECK(f.completed == 2);
  CHECK(f.slo_attainment == doctest::Approx(2.0 / 3));
  CHECK(f.ttft_p50 == 1.0);
  CHECK(std::isinf(f.ttft_mean));
  CHECK(std::isinf(f.ttft_p90));
  CHECK(f.prompt_tokens == 300);
  CHECK(f.prefill_tokens_computed == 140);
  nlohmann::json out;
  add_figures(f, out);
  CHECK(out["ttft_max"].is_null());
  CHECK(out["ttft_mean"].is_null());
  CHECK(out["e2e_p99"].is_null());
  CHECK(out["ttft_p50"] == 1.0);
  CHECK(out["rejected"].is_number_integer());
  for (const FigureColumn& column : figure_columns()) CHECK(out.contains(column.name));
}

TEST_CASE("averages are over all figures, and infinity stays") {
  SimulationFigures a = Example().figures();
  SimulationFigures b = a;
  b.qps = 3;
  b.ttft_max = INFINITY;
  const SimulationFigures both[] = {a, b};
  const SimulationFigures mean = average(both);
  CHECK(mean.qps == doctest::Approx(2));
  CHECK(std::isinf(mean.ttft_max));
  CHECK(mean.hit_ratio == doctest::Approx(a.hit_ratio));
}

TEST_CASE("Jain's index and max-min shares") {
  CHECK(jain_index(std::vector<double>{3, 3, 3}) == doctest::Approx(1));
  CHECK(jain_index(std::vector<double>{4, 0, 0, 0}) == doctest::Approx(0.25));
  CHECK(jain_index(std::vector<double>{1, 3}) == doctest::Approx(16.0 / 20));
  CHECK(std::isnan(jain_index(std::vector<double>{0, 0})));
  // The smallest gets all it asks; the others share what is left.
  CHECK(max_min_shares(std::vector<double>{10, 1, 7}, 9) == std::vector<double>{4, 1, 4});
  CHECK(max_min_shares(std::vector<double>{10, 1, 7}, 100) == std::vector<double>{10, 1, 7});
}

TEST_CASE("fairness: who asks for little and gets it takes nothing from the others") {
  Example example;
  // By the last arrival, at 3 s, only the first counted request of `a` has its first token: 100
  // input tokens, and of ten output tokens one at 2 s and half of the other nine by 3 s.
  // Its demand is 240, b's 120; the total of 111 in max-min shares is 55.5 each.
  CHECK(example.figures().jain_fairness == doctest::Approx(0.5));
  // Had all been answered at once, both would have what they asked.
  for (SimRequest& request : example.outcome.requests) request.ttft_s = request.e2e_s = 0;
  CHECK(example.figures().jain_fairness == doctest::Approx(1));
}

TEST_CASE("fairness: max-min shares by weight") {
  const std::vector<double> weights{2, 1, 1};
  // 12 of them: 6 and 3 and 3, of which the last takes 1; what it leaves is split 2 to 1.
  const std::vector<double> shares = max_min_shares(std::vector<double>{10, 9, 1}, 12, weights);
  CHECK(shares[0] == doctest::Approx(22.0 / 3));
  CHECK(shares[1] == doctest::Approx(11.0 / 3));
  CHECK(shares[2] == doctest::Approx(1));
}

TEST_CASE("each client's figures by hand, and who is well-behaved") {
  Example example;
  const CountedRun run{.slo_ttft_s = 1.5, .warmup = 1};
  const std::vector<ClientFigures> clients = client_figures(example.outcome, example.workload, run);
  REQUIRE(clients.size() == 2);
  const ClientFigures& a = clients[0];  // asks for most
  CHECK(a.client == "a");
  CHECK(a.requests == 2);
  CHECK(a.demand == 240);
  CHECK(a.service == doctest::Approx(100 + 2 * (1 + 9 * 0.5)));
  CHECK(a.computed == a.service);
  CHECK(a.fair_share == doctest::Approx(55.5));
  CHECK(a.ttft_p50 == 1);
  CHECK(a.ttft_p99 == 2);
  CHECK_FALSE(a.well_behaved);  // an even share of all that is asked is 180
  CHECK(clients[1].client == "b");
  CHECK(clients[1].service == 0);
  CHECK(clients[1].well_behaved);
  SimulationFigures f = example.figures();
  CHECK(f.clients == 2);
  CHECK(f.service_per_s == doctest::Approx(111.0 / 2));
  CHECK(f.ttft_p99_well_behaved == 0.5);
  CHECK(f.ttft_p99_other_clients == 2);
  example.outcome.requests[1].cached_tokens = 70;
  const auto cached = client_figures(example.outcome, example.workload, run);
  CHECK(cached[0].service == a.service);
  CHECK(cached[0].computed == doctest::Approx(a.service - 70));
  // With twice the weight `a` asks for no more than is due to it, and `b` still does not.
  CountedRun weighed = run;
  REQUIRE(weighed.client_weights.read(std::vector<std::string>{"a=2"}).empty());
  const auto by_weight = client_figures(example.outcome, example.workload, weighed);
  CHECK(by_weight[0].weight == 2);
  CHECK(by_weight[0].fair_share == doctest::Approx(74));
  CHECK(by_weight[0].well_behaved);
  CHECK(by_weight[1].fair_share == doctest::Approx(37));
  CHECK(by_weight[1].well_behaved);
}

TEST_CASE("one client is well-behaved, and there are no others") {
  Example example;
  for (ReplayRequest& request : example.workload.requests) request.user = "a";
  const SimulationFigures f = example.figures();
  CHECK(f.jain_fairness == doctest::Approx(1));
  CHECK(f.ttft_p99_well_behaved == 2);
  CHECK(std::isnan(f.ttft_p99_other_clients));
}

}  // namespace
}  // namespace dualmesh::node
