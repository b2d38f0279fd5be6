#include "policies/placement/dynamo_cost.h"

#include <cmath>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

enum : std::size_t {
  kOverlapCredit,
  kCreditDecay,
  kPrefillScale,
  kRequestWeight,
  kTemperature,
  kLmetric
};

}  // namespace

Choice DynamoCost::choose(const PlacementRequest& request, const PlacementContext& context,
                          Random& random) const {
  const Arrival& arrival = request.arrival;
  const double input = std::max(arrival.input_tokens, 1U);
  const double block = std::max(block_tokens(arrival, context.fleet), 1U);
  const auto pending = [&](Slot slot) {
    return static_cast<double>(context.fleet.pending_tokens(slot));
  };
  const double least_pending = range_of(context, pending).least;
  const auto cost = [&](Slot slot) {
    const double decay = 1 + values_[kCreditDecay] * (pending(slot) - least_pending) / input;
    const double credit = values_[kOverlapCredit] * hit_at(request, context, slot) / decay;
    const double prefill = std::max(pending(slot) + input - credit, 0.0) / block;
    const Load load = load_of(context.fleet, slot);
    const double used =
        (static_cast<double>(load.decoding_tokens + load.pending_tokens()) + input) / block;
    if (values_[kLmetric] > 0) return prefill * (used + 1);
    return values_[kPrefillScale] * prefill + used + values_[kRequestWeight] * load.requests();
  };
  const double temperature = values_[kTemperature];
  const auto [least_cost, most_cost] = range_of(context, cost);
  if (temperature == 0 || most_cost == least_cost) {
    return choose_least(request, context, random, cost, Reason::best_score);
  }
  // The least of normalised cost / T + Gumbel noise is distributed as the softmax asks.
  std::uniform_real_distribution<double> uniform(1e-12, 1);
  const auto noisy = [&, least = least_cost, range = most_cost - least_cost](Slot slot) {
    return (cost(slot) - least) / range / temperature + std::log(-std::log(uniform(random)));
  };
  return choose_least(request, context, random, noisy, Reason::best_score);
}

}  // namespace dualmesh::policies
