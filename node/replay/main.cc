// dualmesh-replay: one subcommand a file.
#include <CLI/CLI.hpp>

#include "node/program/usage.h"
#include "node/replay/compare_command.h"
#include "node/replay/live_command.h"
#include "node/replay/simulate_command.h"

int main(int argc, char** argv) {
  CLI::App app("Replays workloads of LLM requests and reports what users would have seen.",
               "dualmesh-replay");
  app.require_subcommand(1);
  std::function<int()> chosen;
  dualmesh::node::add_live_command(app, chosen);
  dualmesh::node::add_simulate_command(app, chosen);
  dualmesh::node::add_capacity_command(app, chosen);
  dualmesh::node::add_compare_command(app, chosen);
  if (const auto status = dualmesh::node::parse(app, argc, argv)) return *status;
  return chosen();
}
