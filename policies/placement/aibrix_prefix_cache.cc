#include "policies/placement/aibrix_prefix_cache.h"

#include <cmath>
#include <tuple>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

// More requests than this make an outlier.
double most_allowed(const PlacementContext& context, double sigmas) {
  double n = 0;
  double sum = 0;
  double squares = 0;
  for_each_usable(context, [&](Slot slot) {
    const double requests = load_of(context.fleet, slot).requests();
    n += 1;
    sum += requests;
    squares += requests * requests;
  });
  if (n == 0) return 0;
  const double mean = sum / n;
  const double variance = std::max(squares / n - mean * mean, 0.0);
  return mean + sigmas * std::sqrt(variance);
}

}  // namespace

Choice AibrixPrefixCache::choose(const PlacementRequest& request, const PlacementContext& context,
                                 Random& random) const {
  const auto requests = [&](Slot slot) { return load_of(context.fleet, slot).requests(); };
  const auto [least_requests, most_requests] = range_of(context, requests);
  if (most_requests - least_requests > imbalance_) {
    return choose_least(request, context, random, requests, Reason::least_load);
  }
  const double allowed = most_allowed(context, sigmas_);
  const std::uint32_t longest = longest_hit(request, context);
  const auto order = [&](Slot slot) {
    const std::uint32_t load = requests(slot);
    return std::tuple(load > allowed, longest - hit_at(request, context, slot), load);
  };
  Choice choice = choose_least(request, context, random, order, Reason::longest_hit);
  const bool matched = choice.candidates[0].hit_tokens > 0;
  if (choice.reason == Reason::longest_hit && !matched) choice.reason = Reason::least_load;
  return choice;
}

}  // namespace dualmesh::policies
