// The plot of a ConvergenceRun: three panels over one axis of time, and the same three again for
// the moments in which the mesh catches up.
//
//   lag      one line per node, logarithmic: the age of the oldest change that it lacks
//   digests  how many different states of rings, registry, depth table and load the nodes hold
//   bytes    what all nodes together send
//
// Samples are thinned to the worst of each stretch of a few pixels. Threads: none.
#pragma once

#include <string>

#include "tests/sim/convergence_run.h"

namespace dualmesh::sim {

std::string convergence_plot(const Convergence& run);

}  // namespace dualmesh::sim
