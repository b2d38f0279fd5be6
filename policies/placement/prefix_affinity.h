// PrefixAffinity: all requests with one system prompt to one instance, unless it has many waiting.
//
// Formula: p = the owner on ring A of the hash of the first 200 characters of the system prompt
// (Arrival::system_key); waiting(i) = queued(i) + prefilling(i), own and the other nodes'. p,
// unless waiting(p) >= limit and another has fewer: then argmin over i of waiting(i), ties at
// random. A request without a system prompt goes to the shortest queue. At once.
// In a simulation, where prompts have no roles, the first block stands for the system prompt.
//
// Shared by the mesh: ring A and the load.
// Source: the usual prefix hash in front of engine fleets, as its makers describe it; no paper.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class PrefixAffinity final : public Policy {
 public:
  static constexpr Parameter kParameters[] = {
      {"limit", 10, 1, 1'000'000, "requests without a first token from which on others stand in"},
  };
  explicit PrefixAffinity(const ParameterValues& values) : limit_(values[0]) {}

  std::string_view name() const override { return "prefix_affinity"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double limit_;  // requests
};

}  // namespace dualmesh::policies
