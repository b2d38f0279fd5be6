// DualMap: two candidates from two rings, the longer cached prefix unless it would take too long.
//
// Formula: TTFT(i) = (pending(i) + input - hit(i)) x t_c(i). The candidate with the larger hit is
// preferred (equal: fewer decoding tokens, then at random); when its TTFT exceeds half the SLO, the
// candidate with the smaller TTFT. Requests wait at the router, longest hit first, and are moved
// away from hot spots (policies/rebalancer.h).
//
// Shared by the mesh: rings, load, depth marks, predicted residency; the policy itself has no
// state. Source: DualMap, ICLR 2026, arXiv 2602.06502, and its authors' code.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class DualMap : public Policy {
 public:
  std::string_view name() const override { return "dualmap"; }
  std::string_view default_order() const override { return "longest_hit"; }
  bool rebalances() const override { return true; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
