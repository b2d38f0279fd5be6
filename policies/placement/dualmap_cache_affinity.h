// DualMapCacheAffinity: of DualMap's two candidates the one with the longer hit. An ablation.
//
// Formula: argmax over {A, B} of hit(i), cached prefix tokens by whole blocks; equal: fewer
// decoding tokens, then at random. However long the wait there: the SLO is not looked at. Waits at
// the router, longest hit first; nothing is moved.
//
// Shared by the mesh: rings, depth marks, predicted residency. Source: DualMap, ICLR 2026,
// arXiv 2602.06502, and its authors' code, where "dualmap" alone moves requests.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class DualMapCacheAffinity final : public Policy {
 public:
  std::string_view name() const override { return "dualmap_cache_affinity"; }
  std::string_view default_order() const override { return "longest_hit"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
