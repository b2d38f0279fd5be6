// Freeness: the instance whose free KV memory lasts longest for those who use it, at once.
//
// Formula: argmax over i of (M - used(i) - demanded(i)) / (running(i) + waiting(i)); without
// requests it is infinite; ties at random. M = instance_cache_tokens (SchedulerSettings), used =
// the context of what decodes and what is being prefilled, demanded = the uncached tokens of what
// is queued, running = decoding, waiting = queued and prefilling, all own and the other nodes'.
// Once demand exceeds memory the quotient is negative, and more requests make it less so, as
// published.
//
// Shared by the mesh: the load. Left out: migration of running requests, which only engines can do,
// and headroom for priorities, as requests have none here.
// Source: Llumnix, OSDI 2024, arXiv 2406.03243, and its authors' code ("remaining steps").
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class Freeness final : public Policy {
 public:
  std::string_view name() const override { return "freeness"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
