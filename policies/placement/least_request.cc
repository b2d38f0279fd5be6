#include "policies/placement/least_request.h"

#include "policies/placement/pick.h"

namespace dualmesh::policies {

Choice LeastRequest::choose(const PlacementRequest& request, const PlacementContext& context,
                            Random& random) const {
  return choose_least(request, context, random,
                      [&](Slot slot) { return load_of(context.fleet, slot).requests(); });
}

}  // namespace dualmesh::policies
