#include "policies/placement/round_robin.h"

namespace dualmesh::policies {

Choice RoundRobin::choose(const PlacementRequest& request, const PlacementContext& context,
                          Random&) const {
  const std::vector<Slot>& active = context.model.view->active;
  const auto turn = next_.find(request.arrival.model);
  const std::size_t first = turn == next_.end() ? 0 : turn->second;
  Choice choice;
  for (std::size_t i = 0; i < active.size(); ++i) {
    const Slot slot = active[(first + i) % active.size()];
    if (!context.usable(slot)) continue;
    if (choice.primary == kNoSlot) {
      choice.primary = slot;
      continue;
    }
    choice.backup = slot;
    break;
  }
  if (choice.primary == kNoSlot) return choice;
  choice.reason = choice.backup == kNoSlot ? Reason::only_candidate : Reason::round_robin;
  choice.candidates = {estimate(request, context.fleet, choice.primary),
                       estimate(request, context.fleet, choice.backup)};
  return choice;
}

void RoundRobin::taken(const PlacementRequest& request, const PlacementContext& context,
                       const Choice& choice) {
  const std::vector<Slot>& active = context.model.view->active;
  const auto place = std::find(active.begin(), active.end(), choice.primary);
  next_[request.arrival.model] = static_cast<std::size_t>(place - active.begin()) + 1;
}

}  // namespace dualmesh::policies
