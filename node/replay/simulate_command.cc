#include "node/replay/simulate_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "node/replay/outputs.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kRunsOfASearch = 12;  // about

int fail(const std::string& problem) {
  std::cerr << "dualmesh-replay: " << problem << "\n";
  return 2;
}

int run(SimulationOptions& options, SimulationCommand command) {
  if (const std::string problem = settle(options, command); !problem.empty()) return fail(problem);
  const bool searching = command == SimulationCommand::capacity;
  Bench bench(options, options.seeds * (searching ? kRunsOfASearch : 1));
  if (const std::string problem = bench.load(); !problem.empty()) return fail(problem);
  if (const std::string problem = check_outputs(options); !problem.empty()) return fail(problem);
  for (const std::string& note : bench.notes()) std::cerr << note << "\n";
  const Contestant contestant{options.policy, options.queue,
                              options.residencies.empty() ? "" : options.residencies.front()};
  const BenchResult result =
      searching ? bench.find_capacity(contestant) : bench.simulate(contestant);
  bench.finish();
  for (const std::string& note : result.notes) std::cerr << note << "\n";
  const double limit = bench.limit_qps();
  const int status = put_out(options, result_json(result, options, limit), std::span(&result, 1),
                             list_of(result, limit));
  return status == 0 && searching && *result.capacity_qps == 0 ? 1 : status;
}

void add(CLI::App& app, SimulationCommand command, const char* name, const char* what,
         std::function<int()>& chosen) {
  auto options = std::make_shared<SimulationOptions>();
  CLI::App* sub = app.add_subcommand(name, what);
  add_simulation_options(*sub, command, *options);
  sub->callback([=, &chosen] {
    options->json = sub->count("--json") > 0;
    chosen = [=] { return run(*options, command); };
  });
}

}  // namespace

void add_simulate_command(CLI::App& app, std::function<int()>& chosen) {
  add(app, SimulationCommand::simulate, "simulate", "Run a fleet in virtual time", chosen);
}

void add_capacity_command(CLI::App& app, std::function<int()>& chosen) {
  add(app, SimulationCommand::capacity, "capacity",
      "Search the highest rate at which a simulated fleet answers in time", chosen);
}

}  // namespace dualmesh::node
