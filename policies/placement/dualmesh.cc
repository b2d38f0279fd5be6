#include "policies/placement/dualmesh.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <boost/container/static_vector.hpp>
#include <limits>
#include <utility>

#include "policies/placement/dual_candidates.h"
#include "policies/placement/pick.h"

namespace dualmesh::policies {

namespace {

struct Priced {
  double cost;
  std::size_t place;  // of its estimate
};

// The instances that can take the request, and the uncached tokens that wait at each or are being
// prefilled: read once, as more than one question looks at all of them.
class Survey {
 public:
  explicit Survey(const PlacementContext& context) : slots_(context.model.serving_now) {
    if (!context.all_usable()) {
      for (const Slot slot : slots_) {
        if (context.usable(slot)) usable_.push_back(slot);
      }
      slots_ = usable_;
    }
    pending_.resize(slots_.size(), boost::container::default_init);
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const std::uint64_t pending = context.fleet.pending_tokens(slots_[i]);
      pending_[i] = pending;
      sum_ += pending;
      if (pending < least_) {
        least_ = pending;
        have_least_ = 0;
      }
      if (pending == least_) ++have_least_;
    }
  }

  Survey(const Survey&) = delete;
  Survey& operator=(const Survey&) = delete;

  // Over the active ones, also those that cannot.
  double mean_pending(const PlacementContext& context) const {
    const std::vector<Slot>& active = context.model.view->active;
    std::uint64_t sum = sum_;
    if (active.size() != slots_.size()) {
      sum = 0;
      for (const Slot slot : active) sum += context.fleet.pending_tokens(slot);
    }
    return active.empty() ? 0 : static_cast<double>(sum) / static_cast<double>(active.size());
  }

  // Among equals each has the same chance, as with the next. kNoSlot: there is none.
  Slot least_pending(Random& random) const {
    if (slots_.empty()) return kNoSlot;
    std::uint32_t before = have_least_ == 1 ? 0 : draw(random, have_least_);
    std::size_t place = 0;
    while (pending_[place] != least_ || before-- > 0) ++place;
    return slots_[place];
  }

  // The longest hit; of those that hold as much, the least pending; then the surest.
  Slot longest_hit(const Arrival& arrival, Random& random) const {
    boost::container::small_vector<Slot, 64> best;
    std::uint32_t most = 0;
    std::pair<std::uint64_t, int> best_rest;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const std::uint32_t hit = hit_tokens(arrival, slots_[i]);
      if (hit < most) continue;
      const std::pair rest{pending_[i], -static_cast<int>(hit_source(arrival, slots_[i]))};
      if (best.empty() || hit > most || rest < best_rest) {
        best.clear();
        most = hit;
        best_rest = rest;
      } else if (best_rest < rest) {
        continue;
      }
      best.push_back(slots_[i]);
    }
    if (best.empty()) return kNoSlot;
    return best.size() == 1 ? best[0] : best[draw(random, static_cast<std::uint32_t>(best.size()))];
  }

 private:
  boost::container::small_vector<Slot, 64> usable_;
  std::span<const Slot> slots_;
  boost::container::small_vector<std::uint64_t, 64> pending_;
  std::uint64_t sum_ = 0, least_ = std::numeric_limits<std::uint64_t>::max();
  std::uint32_t have_least_ = 0;
};

Slot neighbour_of(Slot slot, const PlacementContext& context) {
  const std::vector<Slot>& active = context.model.view->active;
  auto at = std::find(active.begin(), active.end(), slot);  // an owner on a ring: it is there
  for (std::size_t i = 1; i < active.size(); ++i) {
    if (++at == active.end()) at = active.begin();
    if (context.usable(*at)) return *at;
  }
  return kNoSlot;
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
  const Survey survey(context);
  boost::container::static_vector<CandidateEstimate, 6> estimates;
  boost::container::static_vector<Priced, 6> priced;
  const double price_tokens = price_ * survey.mean_pending(context);
  const auto add = [&](const CandidateEstimate& candidate) {
    const Slot slot = candidate.slot;
    const bool known = std::any_of(estimates.begin(), estimates.end(),
                                   [&](const CandidateEstimate& one) { return one.slot == slot; });
    if (slot == kNoSlot || known) return;
    priced.push_back({cost(request, fleet, price_tokens, candidate), estimates.size()});
    estimates.push_back(candidate);
  };
  for (const CandidateEstimate& owner : dual_candidates(request, context)) add(owner);
  const std::size_t owners = estimates.size();
  for (std::size_t i = 0; i < owners; ++i) {
    add(estimate(request, fleet, neighbour_of(estimates[i].slot, context)));
  }
  if (std::ranges::any_of(request.arrival.hit_tokens, [](auto hit) { return hit > 0; })) {
    const CandidateEstimate holder =
        estimate(request, fleet, survey.longest_hit(request.arrival, random));
    if (holder.hit_tokens > 0) add(holder);
  }
  add(estimate(request, fleet, survey.least_pending(random)));
  Choice choice;
  if (priced.empty()) return choice;
  if (std::bernoulli_distribution(0.5)(random)) std::reverse(priced.begin(), priced.end());
  const auto cheaper = [](const Priced& a, const Priced& b) { return a.cost < b.cost; };
  const auto second = priced.begin() + std::min<std::ptrdiff_t>(2, std::ssize(priced));
  std::partial_sort(priced.begin(), second, priced.end(), cheaper);
  const auto estimate_of = [&](std::size_t i) -> const CandidateEstimate& {
    return estimates[priced[i].place];
  };
  if (priced.size() > 1 && is_surer(estimate_of(1), estimate_of(0)) &&
      priced[1].cost <= priced[0].cost * (1 + near_)) {
    std::swap(priced[0], priced[1]);
  }
  choice.candidates[0] = estimate_of(0);
  choice.primary = choice.candidates[0].slot;
  choice.reason = Reason::only_candidate;
  if (priced.size() == 1) return choice;
  choice.candidates[1] = estimate_of(1);
  choice.backup = choice.candidates[1].slot;
  choice.reason = choice.candidates[0].hit_tokens > choice.candidates[1].hit_tokens
                      ? Reason::longest_hit
                      : Reason::shorter_ttft;
  return choice;
}

}  // namespace dualmesh::policies
