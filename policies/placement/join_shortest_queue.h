// JoinShortestQueue: the instance with the fewest requests that have no first token yet, at once.
//
// Formula: argmin over i of queued(i) + prefilling(i), own and the other nodes'; ties at random.
// What decodes does not count: in a batching engine it is served already.
//
// Shared by the mesh: the load. With old reports every node sends to the same shortest queue.
// Source: Winston, "Optimality of the shortest line discipline", J. Appl. Prob. 1977.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class JoinShortestQueue final : public Policy {
 public:
  std::string_view name() const override { return "join_shortest_queue"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
