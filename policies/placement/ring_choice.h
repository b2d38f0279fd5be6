// The owner of a key on ring A, with the next on the ring beside it: what the policies with one
// ring have in common.
//
// A masked instance is stood in for by the next on the ring. Cost: O(log points), allocates
// nothing. Threads: none. Source: Karger et al., "Consistent hashing and random trees", STOC 1997.
#pragma once

#include "policies/placement/pick.h"

namespace dualmesh::policies {

inline Slot ring_owner(const PlacementContext& context, BlockKey key, Slot except = kNoSlot) {
  return context.model.view->ring_a.owner(
      key, [&](Slot slot) { return slot != except && context.usable(slot); });
}

// The choice of `owner`, which owns `key`.
inline Choice owner_choice(const PlacementRequest& request, const PlacementContext& context,
                           BlockKey key, Slot owner) {
  const Slot next = ring_owner(context, key, owner);
  return choice_of(request, context, owner, next,
                   next == kNoSlot ? Reason::only_candidate : Reason::ring_owner);
}

}  // namespace dualmesh::policies
