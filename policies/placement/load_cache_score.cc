#include "policies/placement/load_cache_score.h"

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

Choice LoadCacheScore::choose(const PlacementRequest& request, const PlacementContext& context,
                              Random& random) const {
  const auto pending = [&](Slot slot) {
    return static_cast<double>(context.fleet.pending_tokens(slot));
  };
  const double most = std::max(range_of(context, pending).most, 1.0);
  const auto cost = [&](Slot slot) {
    return beta_ * pending(slot) / most - alpha_ * hit_share(request, context, slot);
  };
  return choose_least(request, context, random, cost, Reason::best_score);
}

}  // namespace dualmesh::policies
