// The command line of dualmeshd: --config, --check-config, --print-config, --version, --instance,
// and a flag for every row of the table of settings. Flags outrank the file.
//
// Threads: main only.
#pragma once

#include <optional>
#include <string>

#include "node/router/config.h"

namespace dualmesh::node {

struct CommandLine {
  Config config;
  bool check_only = false;
  bool print_only = false;
};

// What to run, or, when there is nothing (more) to do, the exit status after having printed why.
struct CommandLineResult {
  std::optional<CommandLine> run;
  int exit_status = 0;
};
CommandLineResult read_command_line(int argc, const char* const* argv);

}  // namespace dualmesh::node
