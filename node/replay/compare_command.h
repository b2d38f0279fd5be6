// `dualmesh-replay compare`: several policies on the same simulated fleet and requests, as a table
// and as figures.
//
// Threads: main; --jobs more while it runs.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace dualmesh::node {

// Adds the subcommand; when it was chosen, `chosen` gets what to run. The result is the exit
// status: 0 ran, 1 results could not be written, 2 bad settings.
void add_compare_command(CLI::App& app, std::function<int()>& chosen);

}  // namespace dualmesh::node
