// LeastRequest: the instance with the fewest requests under way, at once.
//
// Formula: argmin over i of queued(i) + prefilling(i) + decoding(i), own and the other nodes'; ties
// at random. A request counts from its placement to its end, whatever its size.
//
// Shared by the mesh: the load. Source: Envoy's least request balancer, over all hosts instead of
// two of them; nginx's least_conn.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class LeastRequest final : public Policy {
 public:
  std::string_view name() const override { return "least_request"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
