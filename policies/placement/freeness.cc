#include "policies/placement/freeness.h"

#include <limits>

#include "policies/placement/pick.h"

namespace dualmesh::policies {

namespace {

double freeness(const Load& load, double memory_tokens) {
  if (load.requests() == 0) return std::numeric_limits<double>::infinity();
  const auto taken = static_cast<double>(load.decoding_tokens + load.pending_tokens());
  return (memory_tokens - taken) / load.requests();
}

}  // namespace

Choice Freeness::choose(const PlacementRequest& request, const PlacementContext& context,
                        Random& random) const {
  const auto memory = static_cast<double>(context.fleet.settings().instance_cache_tokens);
  return choose_least(request, context, random,
                      [&](Slot slot) { return -freeness(load_of(context.fleet, slot), memory); });
}

}  // namespace dualmesh::policies
