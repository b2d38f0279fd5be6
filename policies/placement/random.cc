#include "policies/placement/random.h"

#include "policies/placement/pick.h"

namespace dualmesh::policies {

Choice RandomInstance::choose(const PlacementRequest& request, const PlacementContext& context,
                              Random& random) const {
  const std::uint32_t usable = count_usable(context);
  if (usable == 0) return {};
  return choice_of(request, context, nth_usable(context, draw(random, usable)), kNoSlot,
                   usable == 1 ? Reason::only_candidate : Reason::random);
}

}  // namespace dualmesh::policies
