// SessionAffinity: all requests of one user or session to one instance, at once.
//
// Formula: the owner on ring A of the client (Arrival::client), whatever its load and whatever the
// prompt; a request without one goes to the instance with the fewest requests under way
// (least_request.h). An instance that joins or leaves moves only the clients of its arcs.
//
// Shared by the mesh: ring A, so that all nodes name the same instance for a client without having
// heard of it; the load, for requests without a client.
// Source: sticky sessions by ring hash, as in Envoy and HAProxy, keyed by user.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

class SessionAffinity final : public Policy {
 public:
  std::string_view name() const override { return "session_affinity"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
};

}  // namespace dualmesh::policies
