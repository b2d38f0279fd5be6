// How all four programs answer a command line that they do not understand.
//
// Invariant: exit status 0 for --help and --version, else kExitUsage; what is wrong goes to
// standard error with the program's name and the --help that tells more. Threads: one.
#pragma once

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace dualmesh::node {

inline constexpr int kExitUsage = 2;

// Tells what `app.parse` threw; the exit status.
int told(const CLI::App& app, const CLI::ParseError& error);

}  // namespace dualmesh::node
