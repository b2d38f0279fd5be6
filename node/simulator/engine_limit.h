// The instances' own limit: the rate that they sustain when routing costs nothing.
//
// All prompts meet one cache of the whole fleet that forgets nothing, and all instances are always
// busy with iterations full of prefill. Then a request costs
//   uncached tokens x prefill_per_token + (output tokens - 1) x decode_per_sequence
// of one instance's time. A run of finite length may end a little above it: it is over before the
// queue that grows has become too long.
//
// Threads: pure.
#pragma once

#include "node/simulator/simulation.h"

namespace dualmesh::node {

// Per second, over the requests from `warmup` on; those before them warm the cache.
double engine_limit_qps(const Workload& workload, std::size_t warmup,
                        const SimulationSettings& settings);

}  // namespace dualmesh::node
