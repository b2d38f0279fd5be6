// What a scheduler knows of prefills that run, here and elsewhere, when it wants to be called, and
// what it tells and learns when requests are sent ahead of their turn.
#include <doctest/doctest.h>

#include "tests/policies/placement_scene.h"
#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// One token is one millisecond; a block is 512 tokens. It is 10 s. Sent 40 ms ahead.
SchedulerSettings settings() {
  SchedulerSettings s;
  s.policy = "dualmesh";
  s.prefill_s_per_token = 0.001;
  s.slo_ttft_s = 100;
  s.block_tokens = 1;
  return s;
}

struct Turns : Scene {
  explicit Turns(const SchedulerSettings& wanted = settings()) : Scene(1, wanted) {
    builder.view.settings.policy = "dualmesh";
    builder.view.settings.slo_ttft_s = 100;
    show();
  }
  void submit(RequestId id, std::uint32_t tokens) {
    Arrival arrival = arrival_of(id, {id});
    arrival.input_tokens = tokens;
    Scene::submit(std::move(arrival));
  }
  void tick() {
    effects.clear();
    scheduler.tick(now, effects);
  }
  InstanceView& there() { return builder[0]; }
  bool sent(RequestId id) const {
    return effects.dispatched.size() == 1 && effects.dispatched[0].id == id;
  }
  double cost() const { return scheduler.queues()[0].prefill_s_per_token; }
};

}  // namespace

TEST_CASE("fleet: others' prefills are believed until a while after they should be done") {
  PlacementScene scene(2, settings());
  scene.own(0).prefilling_requests = 1;
  scene.fleet.at(0).busy_until = 20s;
  CHECK(scene.fleet.lapse(0) == Time{});
  CHECK(scene.fleet.running(0, 10s) == 1);
  CHECK(scene.fleet.free_at(0, 10s) == 20s);
  CHECK(scene.fleet.free_at(0, 30s) == 30s);  // it should be done
  scene.others(0).prefilling_requests = 2;
  scene.builder[0].others_busy_until = 25s;
  scene.show();
  CHECK(scene.fleet.lapse(0) == 25s + kDoubt);
  for (const Time now : {Time(10s), Time(27s), Time(25s + kDoubt - 1ns)}) {
    CHECK(scene.fleet.running(0, now) == 3);
    CHECK(scene.fleet.free_at(0, now) == std::max(now, Time(25s)));
  }
  CHECK(scene.fleet.running(0, 25s + kDoubt) == 1);
  scene.fleet.at(0).busy_until = 40s;
  CHECK(scene.fleet.free_at(0, 10s) == 40s);
  // Nothing of ours runs: what was expected of it says nothing.
  scene.own(0).prefilling_requests = 0;
  CHECK(scene.fleet.free_at(0, 10s) == 25s);
  CHECK(scene.fleet.running(0, 10s) == 2);
  CHECK(scene.fleet.free_at(1, 10s) == 10s);
  CHECK(scene.fleet.running(1, 10s) == 0);
}

TEST_CASE("call_at: when the next may be sent ahead of the end of the one that runs") {
  Turns t;
  t.submit(1, 1'000);
  CHECK(t.sent(1));
  CHECK(t.effects.call_at == Effects::kNoCall);
  t.now += 100ms;
  t.submit(2, 500);
  CHECK(t.effects.dispatched.empty());
  CHECK(t.effects.call_at == 11s - 40ms);
  t.submit(3, 500);
  CHECK(t.effects.call_at == 11s - 40ms);
  t.now = 11s - 40ms - 1ns;
  t.tick();
  CHECK(t.effects.dispatched.empty());
  t.now += 1ns;
  t.tick();
  CHECK(t.sent(2));  // one ahead, no second
  CHECK(t.effects.call_at == Effects::kNoCall);
  // With the first token of 1, 2 should be done 500 ms later, and 3 goes ahead of that.
  t.now = 11s + 30ms;
  t.first_token(1);
  CHECK(t.effects.dispatched.empty());
  CHECK(t.effects.call_at == t.now + 500ms - 40ms);
  CHECK(t.changes()[0].second.prefill_left_ms == 500);
}

TEST_CASE(
    "call_at: an idle instance left to another's request is asked for again after the grace") {
  Turns t;
  t.submit(1, 1'000);
  t.now += 500ms;
  t.submit(2, 1'000);
  t.there().others_waiting = {{50s, 10}};  // due before
  t.show();
  t.now = 11s;
  t.first_token(1);
  CHECK(t.effects.dispatched.empty());
  CHECK(t.effects.call_at == 11s + kGrace);
  t.now += kGrace - 1ns;
  t.tick();
  CHECK(t.effects.dispatched.empty());
  CHECK(t.effects.call_at == 11s + kGrace);
  SUBCASE("nothing has come of it") {
    t.now += 1ns;
    t.tick();
    CHECK(t.sent(2));
  }
  SUBCASE("it was sent: what runs counts, and the grace begins anew when it is done") {
    t.there().others.prefilling_requests = 1;
    t.there().others_busy_until = 12s;
    t.show();
    CHECK(t.effects.dispatched.empty());
    CHECK(t.effects.call_at == 12s - 40ms);
    t.now = 12s + 5ms;
    t.there().others.prefilling_requests = 0;
    t.show();
    CHECK(t.effects.call_at == 12s + 5ms + kGrace);
  }
  SUBCASE("it has gone: ours goes at once") {
    t.there().others_waiting.clear();
    t.show();
    CHECK(t.sent(2));
  }
}

TEST_CASE("call_at: when others' prefill is no longer believed") {
  Turns t;
  t.there().others.prefilling_requests = 2;  // above the limit: nothing is sent ahead
  t.there().others_busy_until = 12s;
  t.show();
  t.submit(1, 100);
  CHECK(t.effects.dispatched.empty());
  CHECK(t.effects.call_at == 12s + kDoubt);
  t.now = 12s + kDoubt;
  t.tick();
  CHECK(t.sent(1));
}

TEST_CASE("told: slack and the time left of a prefill are those of the moment they are told") {
  Turns t;
  t.submit(1, 1'000);
  t.submit(2, 700);
  t.now += 300ms;  // nothing has happened since
  const auto changes = t.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second.prefill_left_ms == 700);
  REQUIRE(changes[0].second.waiting.size() == 1);
  CHECK(changes[0].second.waiting[0] == WaitingReport{99'700, 700});
  t.now += 100ms;
  CHECK(t.changes().empty());  // time runs out by itself
  t.now = 12s;
  t.first_token(1);
  REQUIRE(t.sent(2));
  CHECK(t.changes()[0].second.waiting.empty());
}

TEST_CASE("learned: nothing from one behind a first token that was only presumed") {
  Turns t;
  const double before = t.cost();
  for (RequestId id = 1; id <= 20; id += 2) {
    t.submit(id, 1'000);
    REQUIRE(t.sent(id));
    t.submit(id + 1, 1'000);
    t.now += 970ms;
    t.tick();
    REQUIRE(t.sent(id + 1));
    t.now += 30ms;
    t.effects.clear();
    t.scheduler.prefill_presumed(id, t.now, t.effects);
    t.now += 3s;  // who knows when it began
    t.first_token(id + 1);
    t.finish(id);
    t.finish(id + 1);
  }
  CHECK(t.cost() == before);
}

TEST_CASE("told: a prefill that took the place of one of the same length") {
  Turns scene;
  scene.submit(1, 1000);
  REQUIRE(scene.changes().size() == 1);
  scene.now += 300ms;
  CHECK(scene.changes().empty());
  scene.first_token(1);
  scene.finish(1);
  scene.submit(2, 1000);  // as before, but for when it should end
  const auto changes = scene.changes();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].second.prefill_left_ms == 1000);
}

TEST_CASE("told: not that time has run out for what waits and what runs") {
  const Load before{1, 1, 0, 100, 100, 0, 0, 800, {{4000, 100}}};
  CHECK(before.says_as_much_as({1, 1, 0, 100, 100, 0, 0, 500, {{3700, 100}}}, 300));
  CHECK(before.says_as_much_as({1, 1, 0, 100, 100, 0, 0, 0, {{3000, 100}}}, 1000));
  CHECK_FALSE(before.says_as_much_as({1, 1, 0, 100, 100, 0, 0, 800, {{3700, 100}}}, 300));
  CHECK_FALSE(before.says_as_much_as({1, 1, 0, 100, 100, 0, 0, 500, {{4000, 100}}}, 300));
  CHECK_FALSE(before.says_as_much_as({1, 1, 0, 100, 100, 0, 0, 500, {}}, 300));
}

TEST_CASE("batch: requests join the one that is prefilled while what decodes is worth it") {
  Turns t;
  t.there().others.decoding_requests = 20;  // 1,200 tokens together
  t.show();
  t.submit(1, 1'000);
  CHECK(t.sent(1));
  t.submit(2, 150);
  CHECK(t.sent(2));
  CHECK(t.effects.dispatched[0].prefill_s == doctest::Approx(1.15));
  t.submit(3, 51);  // one too many
  CHECK(t.effects.dispatched.empty());
  t.submit(4, 50);  // would fit, but is not the first
  CHECK(t.effects.dispatched.empty());
  t.there().others.decoding_requests = 21;
  t.show();
  REQUIRE(t.effects.dispatched.size() == 2);
  CHECK(t.effects.dispatched[0].id == 3);
  CHECK(t.effects.dispatched[1].id == 4);
  // What another node has under way counts.
  t.there().others.prefilling_requests = 1;
  t.there().others.prefilling_tokens = 2;
  t.there().others_busy_until = 100s;
  t.show();
  t.submit(5, 8);
  CHECK(t.effects.dispatched.empty());
  t.submit(6, 7);
  CHECK(t.effects.dispatched.empty());
}

TEST_CASE("batch: another node's request that goes before ours is not passed") {
  Turns t;
  t.there().others.decoding_requests = 100;
  t.show();
  t.submit(1, 1'000);
  REQUIRE(t.sent(1));
  t.there().others_waiting = {{50s, 10}};
  t.show();
  t.submit(2, 100);
  CHECK(t.effects.dispatched.empty());
  t.there().others_waiting.clear();
  t.show();
  CHECK(t.sent(2));
}

TEST_CASE("turns: with room for several, a partly busy instance is left to who is first, too") {
  SchedulerSettings two = settings();
  two.prefill_limit = 2;
  Turns t(two);
  t.submit(1, 1'000);
  t.submit(2, 1'000);
  t.submit(3, 1'000);
  CHECK(t.effects.dispatched.empty());     // full
  t.there().others_waiting = {{50s, 10}};  // due before
  t.show();
  t.now = 12s;
  t.first_token(1);
  CHECK(t.effects.dispatched.empty());
  CHECK(t.effects.call_at == 12s + kGrace);
  t.now += kGrace;
  t.tick();
  CHECK(t.sent(3));
}
