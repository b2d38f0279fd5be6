#include "policies/placement/prefix_affinity.h"

#include "policies/placement/ring_choice.h"

namespace dualmesh::policies {

Choice PrefixAffinity::choose(const PlacementRequest& request, const PlacementContext& context,
                              Random& random) const {
  const auto queue = [&](Slot slot) { return waiting(load_of(context.fleet, slot)); };
  const BlockKey key = request.arrival.system_key;
  if (key == 0) return choose_least(request, context, random, queue);
  const Slot preferred = ring_owner(context, key);
  if (preferred != kNoSlot && queue(preferred) >= limit_) {
    const Slot shortest = least(context, random, queue);
    if (queue(shortest) < queue(preferred)) {
      return choice_of(request, context, shortest, preferred, Reason::spilled);
    }
  }
  return owner_choice(request, context, key, preferred);
}

}  // namespace dualmesh::policies
