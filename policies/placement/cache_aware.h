// CacheAware: the instance with the longest match, if it is long enough and the load is even.
//
//   max - min > abs AND max > rel x min, over requests under way:  the least loaded
//   else, longest hit > threshold x input:                         one of its holders, at random
//   else:                                                          the least loaded
//
// All comparisons are strict. The least loaded is first by requests under way, then by requests
// this node ever sent there, then by name.
//
// Shared by the mesh: load and predicted residency, which takes the place of the source's
// approximate tree: bounded per instance and expiring, filled by every node's placements.
// Source: SGLang's router (cache_aware; since 2025 in SMG), defaults of its command line.
// Deviations: load is the whole fleet's, not only this router's; the match is in whole blocks, and
// among usable instances only, so an unhealthy holder never leads to the first healthy instance;
// triggers on memory use, off by default there, are not built.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class CacheAware final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"threshold", 0.3, 0, 1, "least share of the prompt that must match, exclusive"},
      Parameter{"abs", 64, 0, 1e6, "requests between most and least loaded, exclusive"},
      Parameter{"rel", 1.5, 1, 1e6, "most loaded in terms of the least loaded, exclusive"},
  };
  explicit CacheAware(const ParameterValues& values)
      : threshold_(values[0]), abs_(values[1]), rel_(values[2]) {}

  std::string_view name() const override { return "cache_aware"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double threshold_;
  double abs_;
  double rel_;
};

}  // namespace dualmesh::policies
