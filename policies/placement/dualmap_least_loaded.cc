#include "policies/placement/dualmap_least_loaded.h"

#include "policies/placement/dual_candidates.h"

namespace dualmesh::policies {

Choice DualMapLeastLoaded::choose(const PlacementRequest& request, const PlacementContext& context,
                                  Random& random) const {
  return choose_of_two(request, context,
                       [&](const DualCandidates& candidates, Reason& reason) -> std::size_t {
                         const auto& [a, b] = candidates;
                         reason = Reason::least_load;
                         if (a.pending_tokens != b.pending_tokens)
                           return a.pending_tokens < b.pending_tokens ? 0 : 1;
                         return less_running(candidates, context.fleet, random);
                       });
}

}  // namespace dualmesh::policies
