// LeastTokens: the instance with the fewest pending input tokens, at once.
//
// Formula: argmin over i of queued_tokens(i) + prefilling_tokens(i), own and the other nodes'; ties
// at random. Tokens expected in the instance's cache are not pending: they are not computed. The
// paper's baseline counts them, having no cache knowledge; ours is the stronger one.
//
// Shared by the mesh: the load. Source: the "least loaded" baseline of DualMap, ICLR 2026,
// arXiv 2602.06502.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class LeastTokens final : public Policy {
 public:
  std::string_view name() const override { return "least_tokens"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
