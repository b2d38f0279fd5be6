// LoadCacheScore: affinity less load, weighted.
//
// Formula: score(i) = alpha x hit(i) / input - beta x pending(i) / max over j of pending(j),
// greatest first, ties at random. Both terms lie in 0 to 1; pending is uncached prefill queued or
// dispatched, own and the other nodes', 0 everywhere when it is 0 everywhere.
//
// Shared by the mesh: load, predicted residency; the policy itself has no state.
// Source: the linear combination that DualMap (ICLR 2026) and LMetric (OSDI 2026) argue against,
// with the weights 0.7 and 0.3 commonly given.
// Deviation: its sources leave the normalisation open; the fleet's present maximum is ours.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class LoadCacheScore final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"alpha", 0.7, 0, 1000, "weight of the cached share of the prompt"},
      Parameter{"beta", 0.3, 0, 1000, "weight of the pending prefill against the most loaded"},
  };
  explicit LoadCacheScore(const ParameterValues& values) : alpha_(values[0]), beta_(values[1]) {}

  std::string_view name() const override { return "load_cache_score"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double alpha_;
  double beta_;
};

}  // namespace dualmesh::policies
