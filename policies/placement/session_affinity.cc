#include "policies/placement/session_affinity.h"

#include "policies/placement/ring_choice.h"

namespace dualmesh::policies {

Choice SessionAffinity::choose(const PlacementRequest& request, const PlacementContext& context,
                               Random& random) const {
  const std::uint64_t client = request.arrival.client;
  if (client == 0) {
    return choose_least(request, context, random,
                        [&](Slot slot) { return load_of(context.fleet, slot).requests(); });
  }
  return owner_choice(request, context, client, ring_owner(context, client));
}

}  // namespace dualmesh::policies
