// `dualmesh-replay live`: load on real nodes over HTTP, with a table and JSON of what came of it.
//
// Threads: main.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace dualmesh::node {

// Adds the subcommand; when it was chosen, `chosen` gets what to run. The result is the exit
// status: 0 ran, 1 could not or nothing was answered, 2 bad settings, 3 ran but the results are
// void, 130 interrupted.
void add_live_command(CLI::App& app, std::function<int()>& chosen);

}  // namespace dualmesh::node
