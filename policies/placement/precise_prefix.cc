#include "policies/placement/precise_prefix.h"

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

// Of the whole blocks of the chain.
double cached_share(const Arrival& arrival, const Fleet& fleet, Slot slot) {
  if (slot >= arrival.hit_tokens.size() || arrival.chain.blocks.empty()) return 0;
  const auto tokens = static_cast<double>(arrival.chain.blocks.size()) *
                      static_cast<double>(block_tokens(arrival, fleet));
  return tokens > 0 ? std::min(arrival.hit_tokens[slot] / tokens, 1.0) : 0;
}

double memory_taken(const Fleet& fleet, const Load& load) {
  const auto tokens = static_cast<double>(load.decoding_tokens + load.prefilling_tokens);
  const auto memory = static_cast<double>(fleet.settings().instance_cache_tokens);
  return memory > 0 ? std::min(tokens / memory, 1.0) : 1.0;
}

}  // namespace

Choice PrecisePrefix::choose(const PlacementRequest& request, const PlacementContext& context,
                             Random& random) const {
  const auto queue = [&](Slot slot) { return engine_queue(load_of(context.fleet, slot)); };
  const auto range = range_of(context, queue);
  const auto cost = [&](Slot slot) {
    const Load load = load_of(context.fleet, slot);
    const double shortness = range.most == range.least
                                 ? 1.0
                                 : static_cast<double>(range.most - engine_queue(load)) /
                                       static_cast<double>(range.most - range.least);
    return -(prefix_ * cached_share(request.arrival, context.fleet, slot) + queue_ * shortness +
             kv_ * (1 - memory_taken(context.fleet, load)));
  };
  return choose_least(request, context, random, cost, Reason::best_score);
}

}  // namespace dualmesh::policies
