// AibrixPrefixCache: the longest match among the instances that are not outliers in load.
//
//   max - min > imbalance, over the requests under way:  the fewest requests
//   else:  of those with requests <= mean + sigmas x deviation, the longest hit; equal: the fewest
//          requests; equal: at random
//
// Some instance is always within mean + sigmas x deviation, so the source's last resort, the fewest
// requests, is what remains when nothing matches.
//
// Shared by the mesh: load, predicted residency; the policy itself has no state.
// Source: AIBrix, gateway algorithm prefix-cache, with its defaults 16 and 2.
// Deviations: load is the whole fleet's as the mesh knows it, not the engines' metrics; the match
// is in this router's blocks (theirs: 128 characters or 16 tokens); the deviation is the
// population's.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class AibrixPrefixCache final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"imbalance", 16, 0, 1e6, "requests between most and least loaded, exclusive"},
      Parameter{"sigmas", 2, 0, 100, "standard deviations above the mean that are no outlier"},
  };
  explicit AibrixPrefixCache(const ParameterValues& values)
      : imbalance_(values[0]), sigmas_(values[1]) {}

  std::string_view name() const override { return "aibrix_prefix_cache"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double imbalance_;
  double sigmas_;
};

}  // namespace dualmesh::policies
