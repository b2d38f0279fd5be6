// What a ConvergenceRun found, as a table for people and as JSON.
//
// Threads: none.
#pragma once

#include <string>

#include "tests/sim/convergence_run.h"

namespace dualmesh::sim {

std::string convergence_table(const Convergence& run);
std::string convergence_json(const Convergence& run);  // one object, samples included

}  // namespace dualmesh::sim
