#include "policies/placement/power_of_two.h"

#include "policies/placement/pick.h"

namespace dualmesh::policies {

Choice PowerOfTwo::choose(const PlacementRequest& request, const PlacementContext& context,
                          Random& random) const {
  const std::uint32_t usable = count_usable(context);
  if (usable == 0) return {};
  if (usable == 1) {
    return choice_of(request, context, nth_usable(context, 0), kNoSlot, Reason::only_candidate);
  }
  const std::uint32_t first = draw(random, usable);
  const std::uint32_t other = draw(random, usable - 1);
  const Slot a = nth_usable(context, first);
  const Slot b = nth_usable(context, other < first ? other : other + 1);
  const bool second = load_of(context.fleet, b).requests() < load_of(context.fleet, a).requests();
  return choice_of(request, context, second ? b : a, second ? a : b, Reason::less_of_two);
}

}  // namespace dualmesh::policies
