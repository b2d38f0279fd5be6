// Selective pushing: what is available, who is taken, and the wait at the router.
#include "policies/placement/selective_push.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

struct PushScene {
  explicit PushScene(std::size_t instances) : builder(instances), scheduler(SchedulerSettings{}) {
    builder.view.settings.policy = "selective_push";
    show();
  }
  // Each answers with the requests dispatched by it, in order.
  using Ids = std::vector<RequestId>;
  template <class Act>
  Ids after(Act&& act) {
    effects.clear();
    act();
    Ids ids;
    for (const Effects::Dispatch& dispatch : effects.dispatched) ids.push_back(dispatch.id);
    return ids;
  }
  Ids show() {
    return after([&] { scheduler.set_view(builder.build(), now, effects); });
  }
  Ids submit(RequestId id) {
    now += 1ms;
    return after([&] { scheduler.submit(arrival_of(id, {id, 2}), now, effects); });
  }
  Ids first_token(RequestId id) {
    return after([&] { scheduler.first_token(id, now, effects); });
  }
  Ids fail(RequestId id, bool retry) {
    return after([&] { scheduler.failed(id, retry, now, effects); });
  }
  Ids cancel(RequestId id) {
    return after([&] { scheduler.cancelled(id, now, effects); });
  }
  Ids health(Slot slot, bool healthy) {
    return after([&] { scheduler.set_health(slot, healthy, now, effects); });
  }
  Slot at(RequestId id) const { return scheduler.decision(id)->chosen; }

  FleetBuilder builder;
  Scheduler scheduler;
  Effects effects;
  Time now = 10s;
};

using Ids = PushScene::Ids;

}  // namespace

TEST_CASE("selective_push never takes what is masked, and does not wait for it") {
  auto policy = with<SelectivePush>();
  check_masked_holders(policy);
  CacheScene scene(2);
  CHECK_FALSE(scene.choose(policy, ten_blocks(), {0, 1}).wait);
}

TEST_CASE("selective_push: available is where nobody waits behind the one in prefill") {
  CacheScene scene(2);
  const auto policy = with<SelectivePush>();
  const Arrival a = ten_blocks({9, 0});
  CHECK(scene.pick(policy, a) == 0);
  scene.own(0) = {.prefilling_requests = 1, .decoding_requests = 50};
  CHECK(scene.pick(policy, a) == 0);
  scene.others(0, {.prefilling_requests = 1});
  CHECK(scene.pick(policy, a) == 1);
  scene.others(0, {.queued_requests = 1});
  CHECK(scene.pick(policy, a) == 1);
  scene.own(1) = {.queued_requests = 1};
  const Choice none = scene.choose(policy, a);
  CHECK(none.wait);
  CHECK(none.primary == kNoSlot);
  CHECK(none.reason == Reason::waits);
}

TEST_CASE("selective_push: the longest match of the available beyond half, else the least load") {
  CacheScene scene(4);
  const auto policy = with<SelectivePush>();
  scene.decoding({9, 8, 1, 2});
  CHECK(scene.pick(policy, ten_blocks({6, 5, 0, 0})) == 0);
  CHECK(scene.choose(policy, ten_blocks({6, 5, 0, 0})).reason == Reason::longest_hit);
  CHECK(scene.pick(policy, ten_blocks({5, 5, 0, 0})) == 2);  // half is not more than half
  CHECK(scene.choose(policy, ten_blocks({5, 5, 0, 0})).reason == Reason::least_load);
  CHECK(scene.pick(with<SelectivePush>("threshold=0.4"), ten_blocks({5, 4, 0, 0})) == 0);
  // The best holder is full: the next that is available, however little less it has.
  scene.own(0).prefilling_requests = 2;
  CHECK(scene.pick(policy, ten_blocks({9, 6, 0, 0})) == 1);
  CHECK(scene.pick(policy, ten_blocks({9, 5, 0, 0})) == 2);
  scene.own(3) = scene.own(2);
  auto taken = scene.spread(policy, ten_blocks());
  CHECK(taken[2] > 350);
  CHECK(taken[3] > 350);
}

TEST_CASE("while nobody is available a request waits at the router, in order of arrival") {
  PushScene scene(2);
  // One in prefill and one behind it on each.
  for (RequestId id = 1; id <= 4; ++id) CHECK(scene.submit(id) == Ids{id});
  for (RequestId id = 5; id <= 7; ++id) CHECK(scene.submit(id).empty());
  CHECK(scene.effects.rejected.empty());
  CHECK(scene.at(5) == kNoSlot);
  CHECK(scene.scheduler.decision(5)->reason == Reason::waits);
  CHECK(scene.scheduler.live_requests() == 7);
  const DecisionRecord asked = scene.scheduler.explain(arrival_of(9, {9}), scene.now);
  CHECK(asked.reason == Reason::waits);
  CHECK(asked.outcome == Outcome::pending);

  scene.now += 1s;
  const Slot freed = scene.at(2);
  CHECK(scene.first_token(2) == Ids{5});
  CHECK(scene.at(5) == freed);
  CHECK(scene.scheduler.decision(5)->queued_s == doctest::Approx(1.002));
  // One that gives up is not waited for.
  CHECK(scene.cancel(6).empty());
  CHECK(scene.cancel(1) == Ids{7});
  CHECK(scene.first_token(7).empty());
  CHECK(scene.scheduler.totals().cancelled == 2);
}

TEST_CASE(
    "who waits is let in by what other nodes say, by health, by a new instance, by a policy") {
  PushScene scene(1);
  scene.builder[0].others.prefilling_requests = 2;
  scene.show();
  for (RequestId id = 1; id <= 6; ++id) CHECK(scene.submit(id).empty());
  // One of theirs has its first token: room for one.
  scene.builder[0].others.prefilling_requests = 1;
  CHECK(scene.show() == Ids{1});
  scene.builder.add("m");
  CHECK(scene.show() == Ids{2, 3});
  CHECK(scene.at(2) == 1);
  CHECK(scene.at(3) == 1);
  // Slot 0 dies and another comes, unhealthy ones of a model being less than half.
  scene.builder.add("m");
  scene.fail(1, false);
  CHECK(scene.at(4) == 0);  // in the place of 1
  CHECK(scene.show() == Ids{5, 6});
  CHECK(scene.submit(7).empty());
  CHECK(scene.submit(8).empty());
  scene.builder.view.settings.policy = "round_robin";
  CHECK(scene.show() == Ids{7, 8});
}

TEST_CASE("an instance that comes back lets in who waits") {
  PushScene scene(3);
  scene.health(2, false);
  for (RequestId id = 1; id <= 4; ++id) scene.submit(id);
  CHECK(scene.submit(5).empty());
  CHECK(scene.health(2, true) == Ids{5});
  CHECK(scene.at(5) == 2);
}

TEST_CASE("who waits is refused when its last instance leaves") {
  PushScene scene(1);
  scene.submit(1);
  scene.submit(2);
  CHECK(scene.submit(3).empty());
  scene.builder[0].lifecycle = Lifecycle::draining;
  scene.show();
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].id == 3);
  CHECK(scene.effects.rejected[0].why == Rejected::no_instance);
  CHECK(scene.scheduler.live_requests() == 2);
  CHECK(scene.scheduler.totals().rejected == 1);
}

TEST_CASE("a failed request gets its old place and holds up nobody that can go where it cannot") {
  PushScene scene(2);
  for (RequestId id = 1; id <= 4; ++id) scene.submit(id);
  CHECK(scene.submit(5).empty());
  // 1 has failed; the other instance is full. Its own has room now, for 5 alone.
  const Slot lost = scene.at(1);
  CHECK(scene.fail(1, true) == Ids{5});
  CHECK(scene.at(5) == lost);
  CHECK(scene.submit(6).empty());
  // Room at the other one: 1 came first.
  RequestId elsewhere = 2;
  while (scene.at(elsewhere) == lost) ++elsewhere;
  CHECK(scene.first_token(elsewhere) == Ids{1});
  CHECK(scene.at(1) != lost);
  CHECK(scene.scheduler.totals().retried == 1);
}
