#include "policies/placement/dualmesh.h"

#include <algorithm>
#include <boost/container/static_vector.hpp>
#include <tuple>
#include <utility>

#include "policies/placement/dual_candidates.h"
#include "policies/placement/pick.h"

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

double mean_pending(const PlacementContext& context) {
  const std::vector<Slot>& active = context.model.view->active;
  std::uint64_t sum = 0;
  for (const Slot slot : active) sum += context.fleet.pending_tokens(slot);
  return active.empty() ? 0 : static_cast<double>(sum) / static_cast<double>(active.size());
}

bool is_surer(const CandidateEstimate& one, const CandidateEstimate& other) {
  return one.hit_tokens > 0 && one.source > other.source;
}

}  // namespace

double DualMesh::cost(const PlacementRequest& request, const Fleet& fleet, double price_tokens,
                      const CandidateEstimate& candidate) const {
  // The last token is always computed.
  const double worth = candidate.source == HitSource::predicted ? predicted_ : 1.0;
  const double miss = std::max(request.arrival.input_tokens - worth * candidate.hit_tokens, 1.0);
  return miss *
         (static_cast<double>(candidate.pending_tokens) + price_tokens +
          decode_tokens_ * (1.0 + fleet.decoding_requests(candidate.slot))) *
         fleet.prefill_s_per_token(candidate.slot);
}

Choice DualMesh::choose(const PlacementRequest& request, const PlacementContext& context,
                        Random& random) const {
  const Fleet& fleet = context.fleet;
  boost::container::static_vector<Priced, 6> priced;
  const double price_tokens = price_ * mean_pending(context);
  const auto add = [&](const CandidateEstimate& candidate) {
    const Slot slot = candidate.slot;
    const bool known = std::any_of(priced.begin(), priced.end(),
                                   [&](const Priced& one) { return one.estimate.slot == slot; });
    if (slot == kNoSlot || known) return;
    priced.push_back({cost(request, fleet, price_tokens, candidate), candidate});
  };
  for (const CandidateEstimate& owner : dual_candidates(request, context)) add(owner);
  const std::size_t owners = priced.size();
  for (std::size_t i = 0; i < owners; ++i) {
    add(estimate(request, fleet, neighbour_of(priced[i].estimate.slot, context)));
  }
  const auto pending = [&](Slot slot) { return fleet.pending_tokens(slot); };
  const auto miss_and_pending = [&](Slot slot) {
    const std::uint32_t hit = hit_tokens(request.arrival, slot);
    const auto doubt = -static_cast<int>(hit_source(request.arrival, slot));
    return std::tuple(request.arrival.input_tokens - hit, pending(slot), doubt);
  };
  if (std::ranges::any_of(request.arrival.hit_tokens, [](auto hit) { return hit > 0; })) {
    const CandidateEstimate holder =
        estimate(request, fleet, least(context, random, miss_and_pending));
    if (holder.hit_tokens > 0) add(holder);
  }
  add(estimate(request, fleet, least(context, random, pending)));
  Choice choice;
  if (priced.empty()) return choice;
  if (std::bernoulli_distribution(0.5)(random)) std::reverse(priced.begin(), priced.end());
  const auto cheaper = [](const Priced& a, const Priced& b) { return a.cost < b.cost; };
  const auto second = priced.begin() + std::min<std::ptrdiff_t>(2, std::ssize(priced));
  std::partial_sort(priced.begin(), second, priced.end(), cheaper);
  if (priced.size() > 1 && is_surer(priced[1].estimate, priced[0].estimate) &&
      priced[1].cost <= priced[0].cost * (1 + near_)) {
    std::swap(priced[0], priced[1]);
  }
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
