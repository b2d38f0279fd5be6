#include "policies/placement/dualmap.h"

#include "policies/placement/dual_candidates.h"

namespace dualmesh::policies {

Choice DualMap::choose(const PlacementRequest& request, const PlacementContext& context,
                       Random& random) const {
  return choose_of_two(request, context, [&](const DualCandidates& candidates, Reason& reason) {
    const std::size_t preferred = longer_hit(candidates, context.fleet, random, reason);
    const std::size_t other = 1 - preferred;
    if (candidates[preferred].ttft_s <= context.fleet.threshold_s()) return preferred;
    reason = Reason::shorter_ttft;
    return candidates[other].ttft_s < candidates[preferred].ttft_s ? other : preferred;
  });
}

}  // namespace dualmesh::policies
