#include "node/replay/compare_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "node/replay/outputs.h"
#include "policies/policy_spec.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kRunsOfASearch = 12;  // about

int fail(const std::string& problem) {
  std::cerr << "dualmesh-replay: " << problem << "\n";
  return 2;
}

// Every policy with every residency.
std::vector<Contestant> contestants_of(const SimulationOptions& options) {
  std::vector<std::string> residencies = options.residencies;
  if (residencies.empty()) residencies.emplace_back();
  std::vector<Contestant> contestants;
  for (const std::string& spec : options.policies) {
    const policies::RoutingSpec routing = policies::split_routing(spec);
    for (const std::string& residency : residencies) {
      contestants.push_back({std::string(routing.policy), std::string(routing.order), residency});
    }
  }
  return contestants;
}

template <class Work>
void in_parallel(std::size_t jobs, std::size_t count, Work&& work) {
  std::atomic<std::size_t> next = 0;
  const auto worker = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < std::min(jobs, count); ++i) others.emplace_back(worker);
  worker();
  for (std::thread& other : others) other.join();
}

int run(SimulationOptions& options) {
  const std::string problem = settle(options, SimulationCommand::compare);
  if (!problem.empty()) return fail(problem);
  const bool searching = options.selection.qps == 0;
  const std::vector<Contestant> contestants = contestants_of(options);
  const std::size_t runs = contestants.size() * options.seeds;
  Bench bench(options, runs * (searching ? kRunsOfASearch : 1));
  if (const std::string why = bench.load(); !why.empty()) return fail(why);
  if (const std::string why = check_outputs(options); !why.empty()) return fail(why);
  for (const std::string& note : bench.notes()) std::cerr << note << "\n";
  std::vector<BenchResult> results(contestants.size());
  in_parallel(options.jobs, results.size(), [&](std::size_t i) {
    results[i] = searching ? bench.find_capacity(contestants[i]) : bench.simulate(contestants[i]);
  });
  bench.finish();
  const double limit = bench.limit_qps();
  nlohmann::json object;
  object["engine_limit_qps"] = limit;
  object["at_capacity"] = searching;
  for (const BenchResult& result : results) {
    for (const std::string& note : result.notes) std::cerr << note << "\n";
    object["results"].push_back(result_json(result, options, limit));
  }
  std::string text = table_of(results, limit);
  text += fmt::format("{}; the engines' own limit is {:.2f} per second\n",
                      searching ? "each at its own capacity" : "all at the same rate", limit);
  text += fairness_table_of(results);
  return put_out(options, object, results, text);
}

}  // namespace

void add_compare_command(CLI::App& app, std::function<int()>& chosen) {
  auto options = std::make_shared<SimulationOptions>();
  CLI::App* sub = app.add_subcommand("compare", "Compare policies on the same simulated fleet");
  add_simulation_options(*sub, SimulationCommand::compare, *options);
  sub->callback([=, &chosen] {
    options->json = sub->count("--json") > 0;
    chosen = [=] { return run(*options); };
  });
}

}  // namespace dualmesh::node
