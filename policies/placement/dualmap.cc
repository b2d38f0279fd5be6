#include "policies/placement/dualmap.h"

namespace dualmesh::policies {

namespace {

// 0 or 1: the candidate that holds more of the prompt.
std::size_t preferred(const std::array<CandidateEstimate, 2>& candidates, const Fleet& fleet,
                      Random& random, Reason& reason) {
  const auto& [a, b] = candidates;
  if (a.hit_tokens != b.hit_tokens) {
    reason = Reason::longest_hit;
    return a.hit_tokens > b.hit_tokens ? 0 : 1;
  }
  reason = Reason::equal_hit;
  const std::uint64_t running_a = fleet.decoding_tokens(a.slot);
  const std::uint64_t running_b = fleet.decoding_tokens(b.slot);
  if (running_a != running_b) return running_a < running_b ? 0 : 1;
  return std::uniform_int_distribution<std::size_t>(0, 1)(random);
}

}  // namespace

Choice DualMap::choose(const PlacementRequest& request, const PlacementContext& context,
                       Random& random) const {
  const ModelView& model = *context.model.view;
  const auto usable = [&](Slot slot) { return context.usable(slot); };
  const Slot a = model.ring_a.owner(request.ring_key, usable);
  Slot b = model.ring_b.owner(request.ring_key, usable);
  if (b == a) {
    b = model.ring_b.owner(request.ring_key, [&](Slot slot) { return slot != a && usable(slot); });
  }

  Choice choice;
  choice.candidates = {estimate(request, context.fleet, a), estimate(request, context.fleet, b)};
  if (a == kNoSlot || b == kNoSlot) {
    choice.primary = a;
    if (a != kNoSlot) choice.reason = Reason::only_candidate;
    return choice;
  }
  std::size_t taken = preferred(choice.candidates, context.fleet, random, choice.reason);
  if (choice.candidates[taken].ttft_s > context.fleet.threshold_s()) {
    choice.reason = Reason::shorter_ttft;
    if (choice.candidates[1 - taken].ttft_s < choice.candidates[taken].ttft_s) taken = 1 - taken;
  }
  choice.primary = choice.candidates[taken].slot;
  choice.backup = choice.candidates[1 - taken].slot;
  return choice;
}

}  // namespace dualmesh::policies
