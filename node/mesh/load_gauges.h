// What the scheduler calls load, as the row that the mesh replicates, and back.
//
// Invariant: to_load(to_gauges(load)) == load. Threads: pure functions.
#pragma once

#include "net/mesh_rows.h"
#include "policies/load.h"

namespace dualmesh::node {

inline net::LoadGauges to_gauges(const policies::Load& load) {
  return {load.queued_requests, load.prefilling_requests, load.decoding_requests,
          load.queued_tokens,   load.prefilling_tokens,   load.decoding_tokens,
          load.head_wait_ms};
}

inline policies::Load to_load(const net::LoadGauges& gauges) {
  return {gauges.queued_requests, gauges.prefilling_requests, gauges.decoding_requests,
          gauges.queued_tokens,   gauges.prefilling_tokens,   gauges.decoding_tokens,
          gauges.head_wait_ms};
}

}  // namespace dualmesh::node
