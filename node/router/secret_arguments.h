// Secrets typed as flags stand in /proc/PID/cmdline for everybody on the machine. They are blanked
// there once they have been read; until then they were seen, so their owner is to be told.
//
// Threads: main, before any other.
#pragma once

#include <string>
#include <vector>

namespace dualmesh::node {

// Overwrites the values of secret settings in `argv`, in place. The names of those settings.
std::vector<std::string> blank_secret_arguments(int argc, char** argv);

}  // namespace dualmesh::node
