#include "policies/placement/selective_push.h"

#include <utility>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

Choice SelectivePush::choose(const PlacementRequest& request, const PlacementContext& context,
                             Random& random) const {
  const auto full = [&](Slot slot) { return engine_queue(load_of(context.fleet, slot)) > 0; };
  bool usable = false;
  bool available = false;
  std::uint32_t longest = 0;
  for_each_usable(context, [&](Slot slot) {
    usable = true;
    if (full(slot)) return;
    available = true;
    longest = std::max(longest, hit_at(request, context, slot));
  });
  if (!usable) return {};
  if (!available) {
    Choice choice;
    choice.reason = Reason::waits;
    choice.wait = true;
    return choice;
  }
  if (longest > threshold_ * request.arrival.input_tokens) {
    const auto shortness = [&](Slot slot) {
      const std::uint32_t hit = hit_at(request, context, slot);
      return std::pair(full(slot), longest - std::min(hit, longest));
    };
    return choose_least(request, context, random, shortness, Reason::longest_hit);
  }
  const auto requests = [&](Slot slot) {
    return std::pair(full(slot), load_of(context.fleet, slot).requests());
  };
  return choose_least(request, context, random, requests, Reason::least_load);
}

}  // namespace dualmesh::policies
