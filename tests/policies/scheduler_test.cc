// The scheduler's promises one at a time: places, queues, load, policies. Random histories are in
// scheduler_history_test.cc, a fleet that changes in scheduler_fleet_test.cc, what the scheduler
// learns and shows in scheduler_records_test.cc.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

TEST_CASE("an idle candidate gets the request in submit itself, the next one waits its turn") {
  Scene scene(2);
  scene.submit(arrival_of(1, {1}, {1, 0}));
  REQUIRE(scene.effects.dispatched.size() == 1);
  CHECK(scene.effects.dispatched[0].slot == 0);
  CHECK(scene.effects.placed.size() == 1);
  CHECK(scene.effects.load_changed);
  scene.submit(arrival_of(2, {1}, {1, 0}));
  CHECK(scene.effects.dispatched.empty());
  REQUIRE(scene.effects.placed.size() == 1);
  CHECK(scene.effects.placed[0].slot == 0);
  scene.now += 300ms;
  scene.first_token(1);
  REQUIRE(scene.effects.dispatched.size() == 1);
  CHECK(scene.effects.dispatched[0].id == 2);
  CHECK(scene.record(1).ttft_s == doctest::Approx(0.3));
  CHECK(scene.record(2).queued_s == doctest::Approx(0.3));
}

TEST_CASE("the place is free when the one before is cancelled, fails or ends without a token") {
  for (int how = 0; how < 3; ++how) {
    Scene scene(1);
    scene.submit(arrival_of(1, {1}));
    scene.submit(arrival_of(2, {2}));
    CHECK(scene.effects.dispatched.empty());
    scene.effects.clear();
    if (how == 0) scene.scheduler.cancelled(1, scene.now, scene.effects);
    if (how == 1) scene.fail(1, false);
    if (how == 2) scene.finish(1);
    REQUIRE(scene.effects.dispatched.size() == 1);
    CHECK(scene.effects.dispatched[0].id == 2);
    const Outcome expected[] = {Outcome::cancelled, Outcome::failed, Outcome::finished};
    CHECK(scene.record(1).outcome == expected[how]);
  }
}

TEST_CASE("the queue goes by longest hit, then arrival") {
  Scene scene(1);
  scene.submit(arrival_of(1, {1}));
  scene.submit(arrival_of(2, {2, 2, 2}, {0}));
  scene.submit(arrival_of(3, {3, 3, 3}, {2}));
  scene.submit(arrival_of(4, {4, 4, 4}, {2}));
  scene.submit(arrival_of(5, {5, 5, 5}, {3}));
  std::vector<RequestId> order{1};
  while (order.size() < 5) {
    scene.first_token(order.back());
    REQUIRE(scene.effects.dispatched.size() == 1);
    order.push_back(scene.effects.dispatched[0].id);
  }
  CHECK(order == std::vector<RequestId>{1, 5, 3, 4, 2});
}

TEST_CASE("prefill_limit is how many may run without a first token") {
  SchedulerSettings settings;
  settings.prefill_limit = 3;
  Scene scene(1, settings);
  std::size_t dispatched = 0;
  for (RequestId id = 1; id <= 5; ++id) {
    scene.submit(arrival_of(id, {id}));
    dispatched += scene.effects.dispatched.size();
  }
  CHECK(dispatched == 3);
}

TEST_CASE("own load is what was placed, and only what changed is reported, absolute") {
  Scene scene(3);
  scene.submit(arrival_of(1, {1, 1}, {1, 0, 0}));
  scene.submit(arrival_of(2, {1, 1, 1}, {1, 0, 0}));
  scene.now += 40ms;
  auto changes = scene.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].first == 0);
  CHECK(changes[0].second == Load{1, 1, 0, 1024, 512, 0, 40, 41, {}});  // 512 x 160 us, 40 ms ago
  CHECK(scene.changes().empty());
  scene.first_token(1);
  changes = scene.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second == Load{0, 1, 1, 0, 1024, 1024, 0, 163, {}});
  scene.first_token(2);
  scene.finish(2);
  scene.finish(1);
  changes = scene.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second == Load{});
  scene.submit(arrival_of(3, {1, 1}, {1, 0, 0}));
  scene.effects.clear();
  scene.scheduler.cancelled(3, scene.now, scene.effects);
  CHECK(scene.changes().empty());  // there and back since the last report
}

TEST_CASE("the policy switches while running; what waits drains even beside a stream of others") {
  Scene scene(1);
  for (RequestId id = 1; id <= 4; ++id) scene.submit(arrival_of(id, {id}));
  scene.builder.view.settings.policy = "round_robin";
  scene.show();
  CHECK(scene.effects.dispatched.empty());
  scene.submit(arrival_of(10, {1}));
  REQUIRE(scene.effects.dispatched.size() == 1);  // at once, past the queue and the limit
  CHECK(scene.record(10).reason == Reason::only_candidate);
  CHECK(scene.record(10).policy == "round_robin");
  scene.submit(arrival_of(11, {1}));
  // The instance is never below the limit now, yet each that gets through lets one go.
  std::vector<RequestId> running{1, 10, 11};
  for (int i = 0; i < 3; ++i) {
    scene.submit(arrival_of(100 + static_cast<RequestId>(i), {1}));
    scene.first_token(running[static_cast<std::size_t>(i)]);
    REQUIRE(scene.effects.dispatched.size() == 1);
    CHECK(scene.effects.dispatched[0].id == static_cast<RequestId>(2 + i));
  }
  scene.builder.view.settings.policy = "a policy of the future";
  scene.show();
  CHECK(scene.scheduler.explain(arrival_of(200, {1}), scene.now).policy == "round_robin");
  scene.builder.view.settings.policy = "dualmap";
  scene.show();
  scene.submit(arrival_of(201, {1}));
  CHECK(scene.effects.dispatched.empty());
}

TEST_CASE("an arrival between two overloaded candidates sets off rebalancing") {
  SchedulerSettings settings;
  settings.learn_prefill_cost = false;
  Scene scene(3, settings);
  // 15,625 tokens are half the SLO. Two requests on each of slots 0 and 1 make them overloaded.
  RequestId id = 0;
  std::vector<RequestId> placed[3];
  while (placed[0].size() < 3 || placed[1].size() < 3) {
    ++id;
    Arrival arrival = arrival_of(id, {id});
    arrival.input_tokens = 8'000;
    const DecisionRecord where = scene.scheduler.explain(arrival, scene.now);
    const bool between = where.candidates[0].slot + where.candidates[1].slot == 1;
    if (!between) continue;
    scene.submit(arrival);
    placed[where.chosen].push_back(id);
  }
  // The fifth (third of one of them) found both beyond the threshold; slot 2 was idle.
  CHECK(scene.scheduler.totals().migrations >= 1);
  bool moved = false;
  for (const DecisionRecord& record : scene.scheduler.decisions(100)) {
    if (record.reason != Reason::rebalanced) continue;
    moved = true;
    CHECK(record.chosen == 2);
    CHECK(record.backup != kNoSlot);
    CHECK(record.migrations == 1);
  }
  CHECK(moved);
}

TEST_CASE("a tick notices who has waited too long, and tells the others once") {
  SchedulerSettings settings;
  settings.learn_prefill_cost = false;
  Scene scene(2, settings);
  scene.submit(arrival_of(1, {1}, {1, 0}));
  scene.submit(arrival_of(2, {1}, {1, 0}));
  const Slot slot = scene.record(2).chosen;
  REQUIRE(scene.effects.dispatched.empty());
  scene.changes();
  // 512 tokens are cached here, none there; nothing else runs there: moving would cost 82 ms more
  // there and save nothing but the 0 tokens before it. Make it worth while: others queue here.
  scene.builder[slot].others.prefilling_tokens = 5'000;
  scene.show();
  scene.now += 2900ms;
  scene.effects.clear();
  scene.scheduler.tick(scene.now, scene.effects);
  CHECK(scene.effects.dispatched.empty());
  CHECK(scene.changes().empty());
  scene.now += 100ms;
  scene.effects.clear();
  scene.scheduler.tick(scene.now, scene.effects);
  REQUIRE(scene.effects.dispatched.size() == 1);
  CHECK(scene.effects.dispatched[0].slot != slot);

  Scene alone(1, settings);
  alone.submit(arrival_of(1, {1}));
  alone.submit(arrival_of(2, {1}));
  alone.changes();
  alone.now += 3100ms;
  alone.scheduler.tick(alone.now, alone.effects);
  const auto changes = alone.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second.head_wait_ms == 3100);
  alone.now += 1s;
  alone.scheduler.tick(alone.now, alone.effects);
  CHECK(alone.changes().empty());
  CHECK(alone.scheduler.queues()[0].overloaded);
}
