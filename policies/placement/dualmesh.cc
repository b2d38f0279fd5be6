#include "policies/placement/dualmesh.h"

#include <algorithm>
#include <boost/container/static_vector.hpp>

#include "policies/placement/dual_candidates.h"

namespace dualmesh::policies {

namespace {

struct Priced {
  double cost;
  CandidateEstimate estimate;
};

Slot neighbour_of(Slot slot, const PlacementContext& context) {
  const std::vector<Slot>& active = context.model.view->active;
  const auto place = std::find(active.begin(), active.end(), slot) - active.begin();
  for (std::size_t i = 1; i < active.size(); ++i) {
    const Slot next = active[(static_cast<std::size_t>(place) + i) % active.size()];
    if (context.usable(next)) return next;
  }
  return kNoSlot;
}

}  // namespace

double DualMesh::cost(const PlacementRequest& request, const Fleet& fleet,
                      const CandidateEstimate& candidate) const {
  // The last token is always computed.
  const std::uint32_t miss =
      std::max(request.arrival.input_tokens - candidate.hit_tokens, std::uint32_t{1});
  return miss *
         (static_cast<double>(candidate.pending_tokens) + price_ +
          decode_ * static_cast<double>(fleet.decoding_tokens(candidate.slot))) *
         fleet.prefill_s_per_token(candidate.slot);
}

Choice DualMesh::choose(const PlacementRequest& request, const PlacementContext& context,
                        Random& random) const {
  boost::container::static_vector<Priced, 4> priced;
  const auto add = [&](const CandidateEstimate& candidate) {
    priced.push_back({cost(request, context.fleet, candidate), candidate});
  };
  for (const CandidateEstimate& owner : dual_candidates(request, context)) {
    if (owner.slot != kNoSlot) add(owner);
  }
  const std::size_t owners = priced.size();
  for (std::size_t i = 0; i < owners; ++i) {
    const Slot next = neighbour_of(priced[i].estimate.slot, context);
    const bool known = std::any_of(priced.begin(), priced.end(),
                                   [&](const Priced& one) { return one.estimate.slot == next; });
    if (next != kNoSlot && !known) add(estimate(request, context.fleet, next));
  }
  Choice choice;
  if (priced.empty()) return choice;
  if (std::bernoulli_distribution(0.5)(random)) std::reverse(priced.begin(), priced.end());
  const auto cheaper = [](const Priced& a, const Priced& b) { return a.cost < b.cost; };
  const auto second = priced.begin() + std::min<std::ptrdiff_t>(2, std::ssize(priced));
  std::partial_sort(priced.begin(), second, priced.end(), cheaper);
  choice.primary = priced[0].estimate.slot;
  choice.candidates[0] = priced[0].estimate;
  choice.reason = Reason::only_candidate;
  if (priced.size() == 1) return choice;
  choice.backup = priced[1].estimate.slot;
  choice.candidates[1] = priced[1].estimate;
  choice.reason = priced[0].estimate.hit_tokens > priced[1].estimate.hit_tokens
                      ? Reason::longest_hit
                      : Reason::shorter_ttft;
  return choice;
}

}  // namespace dualmesh::policies
