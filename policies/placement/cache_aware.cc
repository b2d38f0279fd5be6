#include "policies/placement/cache_aware.h"

#include <tuple>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

Choice CacheAware::choose(const PlacementRequest& request, const PlacementContext& context,
                          Random& random) const {
  const auto requests = [&](Slot slot) { return load_of(context.fleet, slot).requests(); };
  const auto [least_requests, most_requests] = range_of(context, requests);
  const bool uneven =
      most_requests - least_requests > abs_ && most_requests > rel_ * least_requests;
  const std::uint32_t longest = uneven ? 0 : longest_hit(request, context);
  if (longest > threshold_ * request.arrival.input_tokens) {
    return choose_least(
        request, context, random,
        [&](Slot slot) { return longest - hit_at(request, context, slot); }, Reason::longest_hit);
  }
  // By name last: the first of the active instances wins, nothing is drawn.
  std::uint32_t place = 0;
  const auto load = [&](Slot slot) {
    return std::tuple(requests(slot), context.fleet.at(slot).dispatches, place++);
  };
  return choose_least(request, context, random, load, Reason::least_load);
}

}  // namespace dualmesh::policies
