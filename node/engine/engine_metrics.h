// An instance's counters, rank by rank, as Prometheus text: vLLM's names, and own ones.
//
// Own series are prefixed dualmesh_engine_: prefill tokens really computed, lateness of the
// iteration timer as a histogram, iteration lengths on the wall, and p99 lateness over the mean
// iteration, which voids a measurement beyond 0.05.
//
// Threads: a pure function.
// Source: the metrics page of vLLM's documentation (V1 names, with the older cache usage name).
#pragma once

#include <span>
#include <string>

#include "node/engine/engine_clock.h"

namespace dualmesh::node {

struct EngineIdentity {
  std::string name;
  std::string model;  // the first of those it serves
};

// By rank, at least one.
std::string render_metrics(std::span<const EngineSnapshot> ranks, const EngineIdentity& identity,
                           const EngineParameters& parameters);

}  // namespace dualmesh::node
