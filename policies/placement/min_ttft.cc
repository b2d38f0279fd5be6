#include "policies/placement/min_ttft.h"

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

Choice MinTtft::choose(const PlacementRequest& request, const PlacementContext& context,
                       Random& random) const {
  const Fleet& fleet = context.fleet;
  const std::uint32_t longest = transfer_s_ > 0 ? longest_hit(request, context) : 0;
  const auto ttft_s = [&](Slot slot) {
    const CandidateEstimate plain = estimate(request, fleet, slot);
    const bool fetched = longest > balancing_ * plain.hit_tokens;
    if (!fetched) return plain.ttft_s;
    const std::uint32_t missing = longest - plain.hit_tokens;
    return plain.ttft_s + missing * (transfer_s_ - fleet.prefill_s_per_token(slot));
  };
  return choose_least(request, context, random, ttft_s, Reason::shorter_ttft);
}

}  // namespace dualmesh::policies
