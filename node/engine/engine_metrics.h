// An instance's counters as Prometheus text under vLLM's names, and a few of its own.
//
// Own series are prefixed dualmesh_engine_: prefill tokens really computed, lateness of the
// iteration timer as a histogram, iteration lengths on the wall, and p99 lateness over the mean
// iteration, which voids a measurement beyond 0.05.
//
// Threads: a pure function.
// Source: the metrics page of vLLM's documentation (V1 names, with the older cache usage name).
#pragma once

#include <string>

#include "node/engine/engine_clock.h"

namespace dualmesh::node {

struct EngineIdentity {
  std::string name;
  std::string model;  // the first of those it serves
};

std::string render_metrics(const EngineSnapshot& snapshot, const EngineIdentity& identity,
                           const EngineParameters& parameters);

}  // namespace dualmesh::node
