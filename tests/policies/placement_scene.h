// A fleet made by hand and a policy asked on it, for the tests of single placements.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <vector>

#include "policies/policy_registry.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {

class PlacementScene {
 public:
  explicit PlacementScene(std::size_t instances, const SchedulerSettings& settings = {})
      : builder(instances), fleet(settings) {
    show();
  }
  // The other nodes' load as set in `builder` becomes visible; own load is set in `fleet` at once.
  void show() { fleet.set_view(builder.build()); }
  Load& others(Slot slot) { return builder[slot].others; }
  Load& own(Slot slot) { return fleet.at(slot).own; }
  const ModelView& model() const { return *fleet.model("m")->view; }

  PlacementRequest facts() const { return {arrival, depth, arrival.chain.prefix_key(depth)}; }
  Choice choose(const Policy& policy, const std::vector<Slot>& excluded = {}) {
    return policy.choose(facts(), {fleet, *fleet.model("m"), excluded}, random);
  }
  Choice take(Policy& policy) {
    const Choice choice = choose(policy);
    policy.taken(facts(), {fleet, *fleet.model("m"), {}}, choice);
    return choice;
  }
  // How often each instance is chosen.
  std::map<Slot, int> counts(const Policy& policy, int times) {
    std::map<Slot, int> result;
    for (int i = 0; i < times; ++i) ++result[choose(policy).primary];
    return result;
  }

  FleetBuilder builder;
  Fleet fleet;
  Random random{1};
  std::uint32_t depth = 1;                        // of the ring key
  Arrival arrival = arrival_of(1, {1, 2, 3, 4});  // the request that all are asked for
};

// What holds for every policy: it never takes what cannot be used, the one that is left is the only
// candidate, and with none there is no choice. Before and after a masked instance.
inline void check_masks(const Policy& policy) {
  CAPTURE(policy.name());
  PlacementScene scene(4);
  scene.builder[3].lifecycle = Lifecycle::draining;
  scene.show();
  scene.fleet.set_health(1, false);
  for (int i = 0; i < 50; ++i) {
    scene.arrival = arrival_of(1, {static_cast<std::uint64_t>(i), 2});
    scene.arrival.client = scene.arrival.system_key = scene.arrival.chain.blocks[0];
    const Slot taken = scene.choose(policy).primary;
    CHECK((taken == 0 || taken == 2));
    const Choice left = scene.choose(policy, {0});
    CHECK(left.primary == 2);
    CHECK(left.backup == kNoSlot);
    CHECK(left.reason == Reason::only_candidate);
    CHECK(left.candidates[0].slot == 2);
    CHECK(left.candidates[1].slot == kNoSlot);
  }
  const Choice none = scene.choose(policy, {0, 2});
  CHECK(none.primary == kNoSlot);
  CHECK(none.backup == kNoSlot);
  CHECK(none.reason == Reason::none);

  PlacementScene single(1);
  CHECK(single.choose(policy).primary == 0);
  CHECK(single.choose(policy).reason == Reason::only_candidate);
  CHECK(single.choose(policy, {0}).primary == kNoSlot);
}

}  // namespace dualmesh::policies
