// RoundRobin: each request to the next instance of its model, at once.
//
// Knows nothing of caches or load: the baseline, and the policy to fall back to when a cleverer one
// misbehaves. Unusable instances are stepped over without losing their turn for ever: the turn is a
// place in the model's list of active instances, by name.
//
// Shared by the mesh: nothing; every node takes its own turns.
// Source: folklore; the paper's first baseline.
#pragma once

#include <boost/container/flat_map.hpp>
#include <string>

#include "policies/policy.h"

namespace dualmesh::policies {

class RoundRobin final : public Policy {
 public:
  std::string_view name() const override { return "round_robin"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
  void taken(const PlacementRequest& request, const PlacementContext& context,
             const Choice& choice) override;

 private:
  boost::container::flat_map<std::string, std::size_t> next_;  // by model: place in its active list
};

}  // namespace dualmesh::policies
