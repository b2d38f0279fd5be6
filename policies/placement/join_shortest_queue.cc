#include "policies/placement/join_shortest_queue.h"

#include "policies/placement/pick.h"

namespace dualmesh::policies {

Choice JoinShortestQueue::choose(const PlacementRequest& request, const PlacementContext& context,
                                 Random& random) const {
  return choose_least(request, context, random,
                      [&](Slot slot) { return waiting(load_of(context.fleet, slot)); });
}

}  // namespace dualmesh::policies
