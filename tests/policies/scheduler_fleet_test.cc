// The scheduler while instances fail, drain, go and come back: nothing is lost or goes astray.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

TEST_CASE("a model nobody serves is unknown; one whose instances may not be used has none") {
  Scene scene(2);
  Arrival stranger = arrival_of(1, {1});
  stranger.model = "gpt-none";
  scene.submit(stranger);
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].why == Rejected::unknown_model);
  CHECK(scene.record(1).outcome == Outcome::rejected);
  CHECK(scene.record(1).model == "gpt-none");
  scene.builder[0].lifecycle = scene.builder[1].lifecycle = Lifecycle::draining;
  scene.show();
  scene.submit(arrival_of(2, {1}));
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].why == Rejected::no_instance);
  CHECK(scene.scheduler.live_requests() == 0);
  CHECK(scene.scheduler.totals().rejected == 2);

  Scheduler blind({});
  Effects effects;
  blind.submit(arrival_of(1, {1}), 0s, effects);
  REQUIRE(effects.rejected.size() == 1);
  CHECK(effects.rejected[0].why == Rejected::unknown_model);
}

TEST_CASE("a failed dispatch goes elsewhere, never back, and ends when nowhere is left") {
  Scene scene(3);
  scene.submit(arrival_of(1, {1}));
  std::vector<Slot> tried{scene.effects.dispatched[0].slot};
  for (int i = 0; i < 2; ++i) {
    CHECK(scene.scheduler.can_retry(1));
    scene.fail(1, true);
    REQUIRE(scene.effects.dispatched.size() == 1);
    tried.push_back(scene.effects.dispatched[0].slot);
    CHECK(scene.record(1).reason == Reason::retried);
  }
  std::sort(tried.begin(), tried.end());
  CHECK(tried == std::vector<Slot>{0, 1, 2});
  CHECK(!scene.scheduler.can_retry(1));
  scene.fail(1, true);
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].why == Rejected::no_instance);
  CHECK(!scene.scheduler.can_retry(1));  // forgotten
  CHECK(scene.record(1).outcome == Outcome::failed);
  CHECK(scene.record(1).retries == 3);
  CHECK(scene.scheduler.totals().retried == 2);
  CHECK(scene.scheduler.totals().failed == 1);
  std::uint64_t failures = 0;
  for (const QueueSnapshot& queue : scene.scheduler.queues()) failures += queue.failed;
  CHECK(failures == 3);
}

TEST_CASE("what waits for an instance that drains, goes or dies is placed anew; what runs stays") {
  for (int how = 0; how < 3; ++how) {
    Scene scene(4);
    scene.submit(arrival_of(1, {1}, {1, 0, 0, 0}));
    const Slot slot = scene.effects.dispatched[0].slot;
    Arrival second = arrival_of(2, {1});
    second.hit_tokens.assign(4, 0);
    second.hit_tokens[slot] = kBlock;
    scene.submit(second);
    REQUIRE(scene.effects.dispatched.empty());
    if (how == 2) {
      scene.health(slot, false);
    } else {
      scene.builder[slot].lifecycle = how == 0 ? Lifecycle::draining : Lifecycle::removed;
      scene.show();
    }
    REQUIRE(scene.effects.dispatched.size() == 1);
    CHECK(scene.effects.dispatched[0].id == 2);
    CHECK(scene.effects.dispatched[0].slot != slot);
    CHECK(scene.record(2).reason == Reason::replaced);
    CHECK(scene.record(1).outcome == Outcome::pending);
    scene.first_token(1);
    scene.finish(1);
    CHECK(scene.record(1).outcome == Outcome::finished);
  }
}

TEST_CASE("with nowhere left to wait the request is rejected, not lost") {
  Scene scene(1);
  scene.submit(arrival_of(1, {1}));
  scene.submit(arrival_of(2, {2}));
  scene.builder[0].lifecycle = Lifecycle::draining;
  scene.show();
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].id == 2);
  CHECK(scene.effects.rejected[0].why == Rejected::no_instance);
}

TEST_CASE("health masks until more than half look dead: then it is ignored") {
  Scene scene(4);
  scene.health(0, false);
  scene.health(1, false);
  CHECK_FALSE(scene.scheduler.panicking("m"));
  for (RequestId id = 0; id < 20; ++id) {
    scene.submit(arrival_of(id, {id}));
    CHECK(scene.effects.placed[0].slot >= 2);
  }
  scene.health(2, false);
  CHECK(scene.scheduler.panicking("m"));
  bool dead_ones_used = false;
  for (RequestId id = 20; id < 60; ++id) {
    scene.submit(arrival_of(id, {id}));
    dead_ones_used = dead_ones_used || scene.effects.placed[0].slot < 3;
  }
  CHECK(dead_ones_used);
  // Back below half: whatever waits for the dead ones goes to the living.
  scene.health(2, true);
  CHECK_FALSE(scene.scheduler.panicking("m"));
  for (const QueueSnapshot& queue : scene.scheduler.queues()) {
    CHECK(queue.healthy == (queue.slot >= 2));
    if (!queue.healthy) CHECK(queue.own.queued_requests == 0);
  }
}

TEST_CASE("on trial an instance has a few requests without an answer at a time, and no more") {
  for (const char* policy : {"dualmesh", "dualmap", "round_robin", "least_request", "min_ttft",
                             "selective_push", "random", "consistent_hash"}) {
    CAPTURE(std::string(policy));
    Scene scene(2);
    scene.builder.view.settings.policy = policy;
    scene.show();
    scene.scheduler.set_health(0, true, scene.now, scene.effects, 2);
    const auto unanswered = [&] {
      const Load own = scene.scheduler.queues().at(0).own;
      return own.queued_requests + own.prefilling_requests;
    };
    std::vector<RequestId> there;
    for (RequestId id = 1; id <= 40; ++id) {
      scene.submit(arrival_of(id, {static_cast<BlockKey>(id)}));
      CHECK(scene.effects.rejected.empty());
      for (const auto& dispatch : scene.effects.dispatched) {
        if (dispatch.slot == 0) there.push_back(dispatch.id);
      }
      CHECK(unanswered() <= 2);
      if (id == 20 && !there.empty()) {  // answered: another may follow
        scene.first_token(there[0]);
        CHECK(unanswered() <= 2);
      }
    }
    CHECK(!there.empty());
    // With nobody else the trial is of any size.
    scene.health(1, false);
    for (RequestId id = 41; id <= 60; ++id) {
      scene.submit(arrival_of(id, {static_cast<BlockKey>(id)}));
      CHECK(scene.effects.rejected.empty());
    }
    if (std::string(policy) != "selective_push") {  // which waits until there is room
      CHECK(unanswered() > 2);
    }
  }
}

TEST_CASE("the end of a trial brings back what belongs there") {
  Scene scene(2);
  scene.scheduler.set_health(0, false, scene.now, scene.effects);
  CHECK(!scene.scheduler.queues().at(0).healthy);
  scene.scheduler.set_health(0, true, scene.now, scene.effects, 1);
  CHECK(scene.scheduler.queues().at(0).healthy);
  scene.health(0, true);
  std::uint32_t most = 0;
  for (RequestId id = 1; id <= 40; ++id) {
    scene.submit(arrival_of(id, {static_cast<BlockKey>(id)}));
    most = std::max(most, scene.scheduler.queues().at(0).own.requests());
  }
  CHECK(most > 1);
}

TEST_CASE("limits per instance: what nobody has room for is refused as that, with a wait") {
  for (const bool by_waiting : {false, true}) {
    SchedulerSettings settings;
    (by_waiting ? settings.max_waiting : settings.max_requests) = 3;
    Scene scene(2, settings);
    std::vector<RequestId> refused;
    for (RequestId id = 1; id <= 30; ++id) {
      scene.submit(arrival_of(id, {static_cast<BlockKey>(id)}));
      for (const auto& rejection : scene.effects.rejected) {
        CHECK(rejection.why == Rejected::full);
        CHECK(rejection.wait_s > 0);
        refused.push_back(rejection.id);
      }
    }
    // One goes at once to each instance; with max_waiting three more may wait for each.
    const std::size_t most = by_waiting ? 8 : 6;
    CHECK(refused.size() == 30 - most);
    for (const QueueSnapshot& queue : scene.scheduler.queues()) {
      CHECK(queue.own.requests() <= (by_waiting ? 4 : 3));
    }
    // Who waits is not sent away by a change of the fleet.
    scene.show();
    CHECK(scene.scheduler.live_requests() == most);
  }
}
