#include "policies/placement/dual_candidates.h"

namespace dualmesh::policies {

DualCandidates dual_candidates(const PlacementRequest& request, const PlacementContext& context) {
  const ModelView& model = *context.model.view;
  const auto usable = [&](Slot slot) { return context.usable(slot); };
  const Slot a = model.ring_a.owner(request.ring_key, usable);
  Slot b = model.ring_b.owner(request.ring_key, usable);
  if (b == a) {
    b = model.ring_b.owner(request.ring_key, [&](Slot slot) { return slot != a && usable(slot); });
  }
  return {estimate(request, context.fleet, a), estimate(request, context.fleet, b)};
}

std::size_t less_running(const DualCandidates& candidates, const Fleet& fleet, Random& random) {
  const std::uint64_t running_a = fleet.decoding_tokens(candidates[0].slot);
  const std::uint64_t running_b = fleet.decoding_tokens(candidates[1].slot);
  if (running_a != running_b) return running_a < running_b ? 0 : 1;
  return std::uniform_int_distribution<std::size_t>(0, 1)(random);
}

std::size_t longer_hit(const DualCandidates& candidates, const Fleet& fleet, Random& random,
                       Reason& reason) {
  const auto& [a, b] = candidates;
  if (a.hit_tokens != b.hit_tokens) {
    reason = Reason::longest_hit;
    return a.hit_tokens > b.hit_tokens ? 0 : 1;
  }
  reason = Reason::equal_hit;
  return less_running(candidates, fleet, random);
}

}  // namespace dualmesh::policies
