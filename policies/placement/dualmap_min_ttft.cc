#include "policies/placement/dualmap_min_ttft.h"

#include "policies/placement/dual_candidates.h"

namespace dualmesh::policies {

Choice DualMapMinTtft::choose(const PlacementRequest& request, const PlacementContext& context,
                              Random& random) const {
  return choose_of_two(request, context,
                       [&](const DualCandidates& candidates, Reason& reason) -> std::size_t {
                         const auto& [a, b] = candidates;
                         reason = Reason::shorter_ttft;
                         if (a.ttft_s < b.ttft_s) return 0;
                         if (b.ttft_s < a.ttft_s) return 1;
                         return less_running(candidates, context.fleet, random);
                       });
}

}  // namespace dualmesh::policies
