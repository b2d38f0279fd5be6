#include "policies/placement/least_tokens.h"

#include "policies/placement/pick.h"

namespace dualmesh::policies {

Choice LeastTokens::choose(const PlacementRequest& request, const PlacementContext& context,
                           Random& random) const {
  return choose_least(request, context, random,
                      [&](Slot slot) { return context.fleet.pending_tokens(slot); });
}

}  // namespace dualmesh::policies
