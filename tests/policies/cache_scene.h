// A fleet made by hand for the tests of placements: load by slot, requests with hits by slot.
#pragma once

#include <doctest/doctest.h>

#include <map>
#include <string_view>

#include "policies/policy.h"
#include "policies/policy_spec.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {

template <class P>
P with(std::string_view parameters = {}) {
  ParameterValues values(P::kParameters);
  const std::string problem = values.read(parameters);
  REQUIRE_MESSAGE(problem.empty(), problem);
  return P(values);
}

struct CacheScene {
  explicit CacheScene(std::size_t instances, SchedulerSettings settings = {})
      : builder(instances), fleet(settings) {
    show();
  }
  void show() { fleet.set_view(builder.build()); }
  // `own` and `others` of one instance; the view is shown anew.
  Load& own(Slot slot) { return fleet.at(slot).own; }
  void others(Slot slot, const Load& load) {
    builder[slot].others = load;
    show();
  }
  // So many requests that decode, by slot, and nothing else.
  void decoding(const std::vector<std::uint32_t>& requests) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      own(static_cast<Slot>(i)) = Load{.decoding_requests = requests[i]};
    }
  }
  // Uncached tokens in prefill, by slot, and nothing else.
  void pending(const std::vector<std::uint64_t>& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      own(static_cast<Slot>(i)) = Load{.prefilling_tokens = tokens[i]};
    }
  }

  PlacementContext context(const std::vector<Slot>& excluded = {}) const {
    return {fleet, *fleet.model("m"), excluded, now};
  }
  Choice choose(const Policy& policy, const Arrival& arrival,
                const std::vector<Slot>& excluded = {}) {
    return policy.choose({arrival, 1, arrival.chain.prefix_key(1)}, context(excluded), random);
  }
  Slot pick(const Policy& policy, const Arrival& arrival, const std::vector<Slot>& excluded = {}) {
    return choose(policy, arrival, excluded).primary;
  }
  Choice take(Policy& policy, const Arrival& arrival) {
    const Choice choice = choose(policy, arrival);
    policy.taken({arrival, 1, arrival.chain.prefix_key(1)}, context(), choice);
    return choice;
  }
  // How often each is taken in 900 tries.
  std::map<Slot, int> spread(const Policy& policy, const Arrival& arrival) {
    std::map<Slot, int> taken;
    for (int i = 0; i < 900; ++i) ++taken[pick(policy, arrival)];
    return taken;
  }

  FleetBuilder builder;
  Fleet fleet;
  Random random{1};
  Time now{};
};

// Ten blocks, 5,120 tokens, of which `hits` are cached, by slot.
inline Arrival ten_blocks(std::vector<std::uint32_t> hits = {}) {
  return arrival_of(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, std::move(hits));
}

// One usable instance is taken, none is no choice, and what is masked for whatever reason is never
// taken, though its cache be best and its load least.
inline void check_masked_holders(Policy& policy) {
  CacheScene scene(4);
  const Arrival a = ten_blocks({10, 9, 2, 1});
  for (Slot slot = 0; slot < 4; ++slot) scene.own(slot) = Load{.decoding_requests = slot};
  scene.fleet.set_health(0, false);
  scene.builder[1].lifecycle = Lifecycle::draining;
  scene.show();
  for (int i = 0; i < 50; ++i) {
    const Choice choice = scene.choose(policy, a);
    CHECK((choice.primary == 2 || choice.primary == 3));
    CHECK((choice.backup == 2 || choice.backup == 3));
    CHECK(choice.primary != choice.backup);
    CHECK(choice.candidates[0].slot == choice.primary);
  }
  const Choice one = scene.choose(policy, a, {2});
  CHECK(one.primary == 3);
  CHECK(one.backup == kNoSlot);
  CHECK(one.reason == Reason::only_candidate);
  const Choice none = scene.choose(policy, a, {2, 3});
  CHECK(none.primary == kNoSlot);
  CHECK(none.reason == Reason::none);
}

}  // namespace dualmesh::policies
