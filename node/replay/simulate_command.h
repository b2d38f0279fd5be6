// `dualmesh-replay simulate` and `capacity`: one policy on a simulated fleet, at one rate or at the
// highest that it sustains.
//
// Threads: main.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace dualmesh::node {

// Add the subcommands; when one was chosen, `chosen` gets what to run. The result is the exit
// status: 0 ran, 1 results could not be written or no rate holds, 2 bad settings.
void add_simulate_command(CLI::App& app, std::function<int()>& chosen);
void add_capacity_command(CLI::App& app, std::function<int()>& chosen);

}  // namespace dualmesh::node
