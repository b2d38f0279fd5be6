// ConsistentHash: consistent hashing of the first block with bounded loads, at once.
//
// Formula: load(i) = requests under way at i, own and the other nodes'; with m = sum of load(i) + 1
// and w(i) = weight(i) / sum of weights over the usable instances,
//   capacity(i) = ceil((1 + epsilon) x m x w(i));
// from the key's place on ring A clockwise the first instance with load(i) < capacity(i). There is
// always one, as the capacities sum up to more than the load. The key is that of the first block of
// the prompt (of all of it, when it is shorter): of fixed depth, so that a prefix that all share is
// spread by the bound alone.
//
// Shared by the mesh: ring A and the load; own dispatches count at once.
// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018,
// arXiv 1608.01350, where weights are equal; epsilon = 0.25 as common in gateways.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class ConsistentHash final : public Policy {
 public:
  static constexpr Parameter kParameters[] = {
      {"epsilon", 0.25, 0.01, 100, "share by which an instance may exceed the mean load"},
  };
  explicit ConsistentHash(const ParameterValues& values) : epsilon_(values[0]) {}

  std::string_view name() const override { return "consistent_hash"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double epsilon_;
};

}  // namespace dualmesh::policies
