#include "policies/placement/least_latency.h"

#include <cmath>

#include "policies/placement/pick.h"

namespace dualmesh::policies {

double LeastLatency::faded_s(const Average& average) const {
  const auto since = static_cast<double>(placements_ - average.at);
  return average.ttft_s * std::exp2(-since / half_life_);
}

Choice LeastLatency::choose(const PlacementRequest& request, const PlacementContext& context,
                            Random& random) const {
  Choice choice = choose_least(request, context, random, [&](Slot slot) {
    if (untried(slot)) return -1.0;
    const Average& average = averages_[slot];
    const std::uint32_t requests = waiting(load_of(context.fleet, slot));
    return requests == 0 ? faded_s(average) : average.ttft_s * (1 + pending_ * requests);
  });
  if (choice.backup != kNoSlot && untried(choice.primary)) choice.reason = Reason::untried;
  return choice;
}

void LeastLatency::taken(const PlacementRequest&, const PlacementContext& context,
                         const Choice& choice) {
  if (averages_.size() < context.fleet.slots()) averages_.resize(context.fleet.slots());
  Average& average = averages_[choice.primary];
  ++placements_;
  if (average.tried) return;
  average.tried = true;
  average.ttft_s = context.fleet.view().settings.slo_ttft_s;
  average.at = placements_;
}

void LeastLatency::first_token(const Arrival&, Slot slot, Duration since_submit) {
  // Placed by the policy before this one, while this one has never tried it.
  if (slot >= averages_.size()) averages_.resize(slot + 1U);
  Average& average = averages_[slot];
  const double sample_s = to_seconds(since_submit);
  const double before_s = average.answered ? faded_s(average) : sample_s;
  average.ttft_s = before_s + weight_ * (sample_s - before_s);
  average.at = placements_;
  average.tried = average.answered = true;
}

}  // namespace dualmesh::policies
