// RandomInstance ("random"): each request to a usable instance drawn uniformly, at once.
//
// Formula: P(i) = 1 / n over the n usable instances of the model. The floor under every other
// policy: what knows less than this does harm.
//
// Shared by the mesh: nothing. Source: folklore.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class RandomInstance final : public Policy {
 public:
  std::string_view name() const override { return "random"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
