// For the tests of dualmesh: requests by key, and who the rings say their candidates are.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "tests/policies/cache_scene.h"

namespace dualmesh::policies {

inline Arrival request_of(std::uint64_t key) {
  return arrival_of(1, {key, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

// Found by the rings alone: the owners of the key and, for each, who comes after it.
inline std::set<Slot> expected_candidates(const CacheScene& scene, const Arrival& arrival,
                                          const std::vector<Slot>& excluded = {}) {
  const PlacementContext context = scene.context(excluded);
  const ModelView& model = *context.model.view;
  const std::uint64_t key = arrival.chain.prefix_key(1);
  std::set<Slot> result;
  const Slot a = model.ring_a.owner(key, [&](Slot slot) { return context.usable(slot); });
  const Slot b =
      model.ring_b.owner(key, [&](Slot slot) { return slot != a && context.usable(slot); });
  for (const Slot owner : {a, b}) {
    if (owner == kNoSlot) continue;
    result.insert(owner);
    Slot next = owner;  // slots are by name here
    do {
      next = static_cast<Slot>((next + 1) % scene.builder.view.instances.size());
    } while (!context.usable(next));
    result.insert(next);
  }
  return result;
}

}  // namespace dualmesh::policies
