#include "policies/placement/ring_affinity.h"

#include "policies/placement/ring_choice.h"

namespace dualmesh::policies {

Choice RingAffinity::choose(const PlacementRequest& request, const PlacementContext& context,
                            Random&) const {
  return owner_choice(request, context, request.ring_key, ring_owner(context, request.ring_key));
}

}  // namespace dualmesh::policies
