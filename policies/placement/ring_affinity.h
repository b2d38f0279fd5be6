// RingAffinity: all requests with one prefix to one instance: DualMap with one ring.
//
// Formula: the owner on ring A of the key of adaptive depth (policies/depth_table.h), whatever its
// load. Waits at the router, longest hit first; nothing is moved, as there is no other candidate.
//
// Shared by the mesh: ring A, depth marks; predicted residency, for the order.
// Source: the "cache affinity" baseline of DualMap, ICLR 2026, arXiv 2602.06502.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class RingAffinity final : public Policy {
 public:
  std::string_view name() const override { return "ring_affinity"; }
  std::string_view default_order() const override { return "longest_hit"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
