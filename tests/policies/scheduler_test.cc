// The scheduler's promises one at a time. Random histories: scheduler_history_test.cc.
#include "policies/scheduler.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/policies/fleet_builder.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

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
    scheduler.finished(id, 0, 0, now, effects);
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
  Time now = 10s;
};

}  // namespace

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
  CHECK(changes[0].second == Load{1, 1, 0, 1024, 512, 0, 40});
  CHECK(scene.changes().empty());
  scene.first_token(1);
  changes = scene.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second == Load{0, 1, 1, 0, 1024, 1024, 0});
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
    scene.fail(1, true);
    REQUIRE(scene.effects.dispatched.size() == 1);
    tried.push_back(scene.effects.dispatched[0].slot);
    CHECK(scene.record(1).reason == Reason::retried);
  }
  std::sort(tried.begin(), tried.end());
  CHECK(tried == std::vector<Slot>{0, 1, 2});
  scene.fail(1, true);
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].why == Rejected::no_instance);
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
    second.hit_blocks.assign(4, 0);
    second.hit_blocks[slot] = 1;
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

TEST_CASE("explain says what the next submit will do, and changes nothing") {
  Scene scene(6);
  for (RequestId id = 1; id <= 200; ++id) {
    const Arrival arrival = arrival_of(id, {id % 7, id % 3, id}, {id % 2 ? 1U : 0U, 1});
    const DecisionRecord first = scene.scheduler.explain(arrival, scene.now);
    const DecisionRecord again = scene.scheduler.explain(arrival, scene.now);
    CHECK(first.chosen == again.chosen);
    scene.submit(arrival);
    const DecisionRecord done = scene.record(id);
    // Even the random ties: it asks a copy of the same generator.
    CHECK(scene.effects.placed[0].slot == first.chosen);
    CHECK(done.ring_key == first.ring_key);
    CHECK(done.depth == first.depth);
    CHECK(done.candidates[0].slot == first.candidates[0].slot);
    CHECK(done.candidates[1].ttft_s == first.candidates[1].ttft_s);
    if (id % 3 == 0) scene.first_token(id - 1);
    if (id % 4 == 0) scene.finish(id - 2);
  }
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
    Arrival arrival = arrival_of(++id, {id});
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

TEST_CASE("prefill cost is learned from first tokens when nothing else of ours was prefilling") {
  SchedulerSettings settings;
  settings.prefill_limit = 2;
  Scene scene(1, settings);
  const auto cost = [&] { return scene.scheduler.queues()[0].prefill_s_per_token; };
  RequestId id = 0;
  for (int i = 0; i < 10; ++i) {  // in pairs: each had company
    scene.submit(arrival_of(++id, {id}));
    scene.submit(arrival_of(++id, {id}));
    scene.now += 5s;
    scene.first_token(id - 1);
    scene.now += 5s;
    scene.first_token(id);
  }
  CHECK(cost() == settings.prefill_s_per_token);
  for (int i = 0; i < 10; ++i) {  // alone
    scene.submit(arrival_of(++id, {id, id}));
    scene.now += 1024ms;
    scene.first_token(id);
  }
  CHECK(cost() == doctest::Approx(0.001));
  scene.builder[0].prefill_s_per_token = 0.5;  // fixed by configuration
  scene.show();
  CHECK(cost() == 0.5);
}

TEST_CASE("a presumed first token makes room and teaches nothing") {
  Scene scene(1);
  for (RequestId id = 1; id <= 10; id += 2) {
    scene.submit(arrival_of(id, {id, id}));
    REQUIRE(scene.effects.dispatched.size() == 1);
    CHECK(scene.effects.dispatched[0].prefill_s == doctest::Approx(1024 * 0.00016));
    scene.submit(arrival_of(id + 1, {id, id}));
    scene.now += 7s;
    scene.effects.clear();
    scene.scheduler.prefill_presumed(id, scene.now, scene.effects);
    REQUIRE(scene.effects.dispatched.size() == 1);
    CHECK(scene.effects.dispatched[0].id == id + 1);
    scene.first_token(id);  // the real one comes too late to be one
    CHECK(scene.record(id).ttft_s == 0);
    scene.finish(id);
    scene.finish(id + 1);
  }
  CHECK(scene.scheduler.queues()[0].prefill_s_per_token == 0.00016);
}

TEST_CASE("decisions are kept with their outcome, newest first, the oldest ended ones go") {
  SchedulerSettings settings;
  settings.decision_log_size = 5;
  Scene scene(2, settings);
  for (RequestId id = 1; id <= 10; ++id) {
    scene.now += 1ms;
    scene.submit(arrival_of(id, {id}));
    if (id <= 8) {
      scene.effects.clear();
      scene.scheduler.first_token(id, scene.now, scene.effects);
      scene.scheduler.finished(id, 512, 128, scene.now, scene.effects);
    }
  }
  std::vector<RequestId> ids;
  for (const DecisionRecord& record : scene.scheduler.decisions(100)) ids.push_back(record.id);
  CHECK(ids == std::vector<RequestId>{10, 9, 8, 7, 6, 5, 4});
  CHECK(scene.scheduler.decisions(2).size() == 2);
  CHECK(scene.record(8).outcome == Outcome::finished);
  CHECK(scene.record(8).cached_tokens == 128);
  CHECK(scene.record(10).outcome == Outcome::pending);
  CHECK(scene.scheduler.decision(3) == nullptr);
  CHECK(scene.scheduler.totals().reported_cached_tokens == 8 * 128);
}

TEST_CASE("late and unknown events are ignored") {
  Scene scene(1);
  scene.submit(arrival_of(1, {1}));
  scene.submit(arrival_of(2, {1}));
  scene.first_token(1);
  scene.finish(1);
  scene.changes();
  scene.first_token(1);
  scene.first_token(77);
  scene.finish(1);
  scene.fail(1, true);
  scene.effects.clear();
  scene.scheduler.cancelled(1, scene.now, scene.effects);
  CHECK(scene.effects.dispatched.empty());
  CHECK(scene.changes().empty());
  scene.first_token(2);
  scene.first_token(2);  // said twice
  const auto changes = scene.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second.decoding_requests == 1);
}

TEST_CASE("decisions under differing rings are counted and marked") {
  Scene scene(2);
  scene.submit(arrival_of(1, {1}));
  scene.builder.view.rings_agree = false;
  scene.show();
  scene.submit(arrival_of(2, {1}));
  CHECK(scene.scheduler.totals().decisions_under_disagreement == 1);
  CHECK(scene.record(1).rings_agreed);
  CHECK_FALSE(scene.record(2).rings_agreed);
  CHECK(scene.record(2).view_generation == 2);
}

TEST_CASE("the depth table works through the scheduler: shared block 0 spreads over the fleet") {
  Scene scene(8);
  std::vector<int> used(8);
  for (RequestId id = 1; id <= 400; ++id) {
    scene.submit(arrival_of(id, {0, id}));
    if (id > 100) ++used[scene.effects.placed[0].slot];
    scene.first_token(id);
    scene.finish(id);
  }
  CHECK(scene.record(400).depth == 2);
  CHECK(*std::min_element(used.begin(), used.end()) > 10);  // 37.5 each if spread evenly
  std::vector<DepthProposal> proposals;
  scene.scheduler.take_depth_proposals(proposals);
  REQUIRE(proposals.size() == 1);
  CHECK(proposals[0].key == chain_of({0}).blocks[0]);
}
