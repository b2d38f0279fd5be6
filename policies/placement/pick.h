// What the policies that look at load have in common: the load of an instance as this router knows
// it, and the least of a model's usable instances by some cost.
//
// Own load is live; the other nodes' is what they last said of theirs. So a node counts its own
// dispatches at once, whatever the age of its view, and nothing twice.
//
// Cost: O(instances); allocates nothing below 64 equals. Threads: none; the scheduler's owner
// locks. Source: ours; counting own dispatches on top of old reports is LSQ's remedy against
// herding (Vargaftik, Keslassy, Orda, ToN 2020).
#pragma once

#include <boost/container/small_vector.hpp>

#include "policies/policy.h"

namespace dualmesh::policies {

inline Load load_of(const Fleet& fleet, Slot slot) {
  Load load = fleet.at(slot).own;
  return load += fleet.others(slot);
}

// Requests without a first token.
inline std::uint32_t waiting(const Load& load) {
  return load.queued_requests + load.prefilling_requests;
}

// 0 .. n - 1, n > 0.
inline std::uint32_t draw(Random& random, std::uint32_t n) {
  return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random);
}

inline std::uint32_t count_usable(const PlacementContext& context) {
  const auto& active = context.model.view->active;
  return static_cast<std::uint32_t>(
      std::count_if(active.begin(), active.end(), [&](Slot slot) { return context.usable(slot); }));
}

// The n-th usable instance from 0, by name. There must be as many.
inline Slot nth_usable(const PlacementContext& context, std::uint32_t n) {
  for (const Slot slot : context.model.view->active) {
    if (context.usable(slot) && n-- == 0) return slot;
  }
  return kNoSlot;
}

// Of `slots` the allowed(slot) instance with the least cost(slot); among equals each has the same
// chance. kNoSlot: there is none.
template <class Allowed, class Cost>
Slot least_where(std::span<const Slot> slots, Random& random, Allowed&& allowed, Cost&& cost) {
  boost::container::small_vector<Slot, 64> best;  // all equal; most are, when nothing is going on
  decltype(cost(kNoSlot)) best_cost{};
  for (const Slot slot : slots) {
    if (!allowed(slot)) continue;
    const auto this_cost = cost(slot);
    if (!best.empty() && best_cost < this_cost) continue;
    if (best.empty() || this_cost < best_cost) {
      best.clear();
      best_cost = this_cost;
    }
    best.push_back(slot);
  }
  if (best.empty()) return kNoSlot;
  return best.size() == 1 ? best[0] : best[draw(random, static_cast<std::uint32_t>(best.size()))];
}

// Of the usable ones, `except` apart.
template <class Cost>
Slot least(const PlacementContext& context, Random& random, Cost&& cost, Slot except = kNoSlot) {
  const bool all = context.all_usable();
  const auto allowed = [&](Slot slot) { return slot != except && (all || context.usable(slot)); };
  return least_where(context.model.serving_now, random, allowed, cost);
}

// A choice whose candidates are the instance taken and the one not taken, if any.
inline Choice choice_of(const PlacementRequest& request, const PlacementContext& context,
                        Slot primary, Slot backup, Reason reason) {
  Choice choice;
  if (primary == kNoSlot) return choice;
  choice.primary = primary;
  choice.backup = backup;
  choice.reason = reason;
  choice.candidates = {estimate(request, context.fleet, primary),
                       estimate(request, context.fleet, backup)};
  return choice;
}

// The instance with the least cost, with the second least beside it.
template <class Cost>
Choice choose_least(const PlacementRequest& request, const PlacementContext& context,
                    Random& random, Cost&& cost, Reason reason = Reason::least_load) {
  const Slot primary = least(context, random, cost);
  if (primary == kNoSlot) return {};
  const Slot backup = least(context, random, cost, primary);
  return choice_of(request, context, primary, backup,
                   backup == kNoSlot ? Reason::only_candidate : reason);
}

}  // namespace dualmesh::policies
