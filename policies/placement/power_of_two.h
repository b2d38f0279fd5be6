// PowerOfTwo: of two different instances drawn at random the one with fewer requests, at once.
//
// Formula: i, j uniform and distinct; the one with the smaller queued + prefilling + decoding, own
// and the other nodes'; equal: the first drawn. Even with old reports nodes do not all choose the
// same instance, as they do with a minimum over all.
//
// Shared by the mesh: the load. Source: Mitzenmacher, "The power of two choices in randomized load
// balancing", TPDS 2001; with old information: "How useful is old information?", TPDS 2000.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class PowerOfTwo final : public Policy {
 public:
  std::string_view name() const override { return "power_of_two"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
