// What the scheduler calls load, as the row that the mesh replicates, and back.
//
// A change is slight when nobody waits there, before or after, and what is being prefilled is over
// soon: whoever hears of it late misjudges the instance by kSlightPrefillMs at most.
//
// Invariant: to_load(to_gauges(load)) == load but for those who wait, who go one way.
// Threads: pure functions.
#pragma once

#include "net/mesh_rows.h"
#include "policies/load.h"

namespace dualmesh::node {

inline net::LoadGauges to_gauges(const policies::Load& load) {
  net::WaitingRows waiting;
  for (const auto& one : load.waiting) waiting.push_back({one.slack_ms, one.tokens});
  return {load.queued_requests, load.prefilling_requests, load.decoding_requests,
          load.queued_tokens,   load.prefilling_tokens,   load.decoding_tokens,
          load.head_wait_ms,    load.prefill_left_ms,     waiting};
}

// Without those who wait: a view keeps them beside the load, as points in its own time.
inline policies::Load to_load(const net::LoadGauges& gauges) {
  return {gauges.queued_requests, gauges.prefilling_requests, gauges.decoding_requests,
          gauges.queued_tokens,   gauges.prefilling_tokens,   gauges.decoding_tokens,
          gauges.head_wait_ms,    gauges.prefill_left_ms,     {}};
}

inline constexpr std::uint32_t kSlightPrefillMs = 200;

inline bool slight_change(const net::LoadGauges& told, const net::LoadGauges& now) {
  const auto slight = [](const net::LoadGauges& gauges) {
    return gauges.queued_requests == 0 && gauges.prefill_left_ms <= kSlightPrefillMs;
  };
  return slight(told) && slight(now);
}

}  // namespace dualmesh::node
