// A scheduler over a made-up fleet, with the effects of the last call at hand.
//
// Invariant: `effects` holds what the last call asked for and nothing older. Threads: one.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>

#include "policies/scheduler.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {

struct Scene {
  explicit Scene(std::size_t instances, SchedulerSettings settings = {})
      : builder(instances), scheduler(settings) {
    show();
  }
  void show() {
    effects.clear();
    scheduler.set_view(builder.build(), now, effects);
  }
  void submit(Arrival arrival) {
    effects.clear();
    scheduler.submit(std::move(arrival), now, effects);
  }
  void first_token(RequestId id) {
    effects.clear();
    scheduler.first_token(id, now, effects);
  }
  void finish(RequestId id) {
    effects.clear();
    scheduler.finished(id, {}, now, effects);
  }
  void fail(RequestId id, bool retry) {
    effects.clear();
    scheduler.failed(id, retry, now, effects);
  }
  void health(Slot slot, bool healthy) {
    effects.clear();
    scheduler.set_health(slot, healthy, now, effects);
  }
  std::vector<std::pair<Slot, Load>> changes() {
    std::vector<std::pair<Slot, Load>> out;
    scheduler.take_load_changes(now, out);
    std::sort(out.begin(), out.end(), [](auto& a, auto& b) { return a.first < b.first; });
    return out;
  }
  DecisionRecord record(RequestId id) const {
    const DecisionRecord* found = scheduler.decision(id);
    REQUIRE(found != nullptr);
    return *found;
  }

  FleetBuilder builder;
  Scheduler scheduler;
  Effects effects;
  Time now = std::chrono::seconds(10);
};

}  // namespace dualmesh::policies
