// What --help of each command of dualmeshctl ends with: examples, and the options that all share.
//
// Invariant: every command has an example; `add_help` aborts when one is missing.
#pragma once

namespace CLI {
class App;
}

namespace dualmesh::node::ctl {

void add_help(CLI::App& app);  // once all commands are in it

}  // namespace dualmesh::node::ctl
