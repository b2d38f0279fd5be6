#include "policies/placement/dualmap_cache_affinity.h"

#include "policies/placement/dual_candidates.h"

namespace dualmesh::policies {

Choice DualMapCacheAffinity::choose(const PlacementRequest& request,
                                    const PlacementContext& context, Random& random) const {
  return choose_of_two(request, context, [&](const DualCandidates& candidates, Reason& reason) {
    return longer_hit(candidates, context.fleet, random, reason);
  });
}

}  // namespace dualmesh::policies
