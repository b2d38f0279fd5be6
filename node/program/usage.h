// How all four programs read their command line, and answer one that they do not understand.
//
// Invariant: exit status 0 for --help and --version, else kExitUsage; what is wrong goes to
// standard error with the program's name and the --help that tells more. Threads: one.
#pragma once

#include <optional>

namespace CLI {
class App;
}

namespace dualmesh::node {

inline constexpr int kExitUsage = 2;

// With --version added. A value is the exit status with which the program has to end.
std::optional<int> parse(CLI::App& app, int argc, const char* const* argv);

}  // namespace dualmesh::node
