// DualMapLeastLoaded: of DualMap's two candidates the one with fewer pending tokens. An ablation.
//
// Formula: argmin over {A, B} of pending(i), the uncached prefill tokens queued for i or dispatched
// to it without a first token, own and the other nodes'; equal: fewer decoding tokens, then at
// random. Waits at the router, longest hit first; nothing is moved. The authors count the input
// tokens of what is pending, cached or not.
//
// Shared by the mesh: rings, load, depth marks. Source: DualMap, ICLR 2026, arXiv 2602.06502,
// and its authors' code, where "dualmap" alone moves requests.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class DualMapLeastLoaded final : public Policy {
 public:
  std::string_view name() const override { return "dualmap_least_loaded"; }
  std::string_view default_order() const override { return "longest_hit"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
