// dualmesh-replay: one subcommand a file.
#include <CLI/CLI.hpp>

#include "node/program/build_id.h"
#include "node/program/usage.h"
#include "node/replay/live_command.h"

int main(int argc, char** argv) {
  CLI::App app("Replays workloads of LLM requests and reports what users would have seen.",
               "dualmesh-replay");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("dualmesh-replay ") + dualmesh::node::kBuildId);
  std::function<int()> chosen;
  dualmesh::node::add_live_command(app, chosen);
  try {  // the library's way of saying --help, too
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return dualmesh::node::told(app, error);
  }
  return chosen();
}
