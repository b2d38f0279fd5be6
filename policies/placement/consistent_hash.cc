#include "policies/placement/consistent_hash.h"

#include <boost/assert.hpp>
#include <cmath>

#include "policies/placement/ring_choice.h"

namespace dualmesh::policies {

Choice ConsistentHash::choose(const PlacementRequest& request, const PlacementContext& context,
                              Random&) const {
  const BlockKey key = request.arrival.chain.prefix_key(1);
  const Slot owner = ring_owner(context, key);
  if (owner == kNoSlot) return {};
  const auto weight = [&](Slot slot) { return context.fleet.view().instances[slot].weight; };
  std::uint64_t requests = 1;  // this one
  double weights = 0;
  for (const Slot slot : context.model.view->active) {
    if (!context.usable(slot)) continue;
    requests += load_of(context.fleet, slot).requests();
    weights += weight(slot);
  }
  const double mean = (1 + epsilon_) * static_cast<double>(requests) / weights;
  const Slot taken = context.model.view->ring_a.owner(key, [&](Slot slot) {
    return context.usable(slot) &&
           load_of(context.fleet, slot).requests() < std::ceil(mean * weight(slot));
  });
  BOOST_ASSERT(taken != kNoSlot);
  if (taken == owner) return owner_choice(request, context, key, owner);
  return choice_of(request, context, taken, owner, Reason::spilled);
}

}  // namespace dualmesh::policies
