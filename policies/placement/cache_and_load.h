// What the policies that weigh cache against load have in common, beside pick.h: hits and loads of
// one request over the usable instances of its model.
//
// Cost: O(instances), allocates nothing. Threads: none; the scheduler's owner locks.
// Source: ours.
#pragma once

#include "policies/placement/pick.h"

namespace dualmesh::policies {

inline std::uint32_t hit_at(const PlacementRequest& request, const PlacementContext&, Slot slot) {
  return hit_tokens(request.arrival, slot);
}

// 0 to 1: the share of the prompt that is cached there.
inline double hit_share(const PlacementRequest& request, const PlacementContext& context,
                        Slot slot) {
  const std::uint32_t input = request.arrival.input_tokens;
  return input == 0 ? 0 : static_cast<double>(hit_at(request, context, slot)) / input;
}

template <class Visit>
void for_each_usable(const PlacementContext& context, Visit&& visit) {
  for (const Slot slot : context.model.view->active) {
    if (context.usable(slot)) visit(slot);
  }
}

inline std::uint32_t longest_hit(const PlacementRequest& request, const PlacementContext& context) {
  std::uint32_t longest = 0;
  for_each_usable(context,
                  [&](Slot slot) { longest = std::max(longest, hit_at(request, context, slot)); });
  return longest;
}

// Requests that wait in the engine as its own metrics would say: without a first token, less the
// one it works on.
inline std::uint32_t engine_queue(const Load& load) {
  return load.queued_requests + load.prefilling_requests - (load.prefilling_requests > 0 ? 1 : 0);
}

// Least and greatest of some measure over the usable instances; equal when there are none.
template <class Number>
struct Range {
  Number least{};
  Number most{};
};
template <class Measure>
auto range_of(const PlacementContext& context, Measure&& measure) {
  Range<decltype(measure(Slot{}))> range;
  bool first = true;
  for_each_usable(context, [&](Slot slot) {
    const auto value = measure(slot);
    range.least = first ? value : std::min(range.least, value);
    range.most = first ? value : std::max(range.most, value);
    first = false;
  });
  return range;
}

}  // namespace dualmesh::policies
