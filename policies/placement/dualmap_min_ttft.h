// DualMapMinTtft: of DualMap's two candidates the one with the sooner first token. An ablation.
//
// Formula: argmin over {A, B} of TTFT(i) = (pending(i) + input - hit(i)) x t_c(i); equal: fewer
// decoding tokens, then at random. Waits at the router, longest hit first; nothing is moved.
//
// Shared by the mesh: rings, load, depth marks, predicted residency. Source: DualMap, ICLR 2026,
// arXiv 2602.06502, and its authors' code, where "dualmap" alone moves requests.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class DualMapMinTtft final : public Policy {
 public:
  std::string_view name() const override { return "dualmap_min_ttft"; }
  std::string_view default_order() const override { return "longest_hit"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
