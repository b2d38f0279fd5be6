// Selective pushing to another node: when a request makes the hop, to whom, and how it comes back.
#include "policies/placement/selective_push.h"
#include "tests/policies/cache_scene.h"
#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// Instances 0 and 1 of four are beyond the reach of this node; `near` and `far` are other nodes.
struct CutScene : CacheScene {
  CutScene() : CacheScene(4) {
    builder.peers = {{"far", "10.0.0.2:80", {0, 1, 2, 3}}, {"near", "10.0.0.3:80", {2, 3}}};
    show();
    fleet.set_health(0, false);
    fleet.set_health(1, false);
  }
  void fill(Slot slot) { own(slot).prefilling_requests = 2; }
};

Arrival prompt_of(RequestId id) { return arrival_of(id, {id, 2}); }

// One instance in reach and full, one that `far` reaches alone.
struct HopScene : Scene {
  HopScene() : Scene(2) {
    builder.view.settings.policy = "selective_push";
    builder.peers = {{"far", "10.0.0.2:80", {0, 1}}};
    show();
    health(1, false);
    submit(prompt_of(1));
    submit(prompt_of(2));
    REQUIRE(effects.dispatched.size() == 1);
  }
  bool handed(RequestId id) const {
    return effects.handed.size() == 1 && effects.handed[0].id == id;
  }
  bool waits(RequestId id) const { return record(id).reason == Reason::waits; }
};

}  // namespace

TEST_CASE("a hop is made only where no instance in reach has room") {
  CutScene scene;
  const auto policy = with<SelectivePush>();
  CHECK(scene.choose(policy, ten_blocks()).hand_to == kNoPeer);
  // However much of it is cached out of reach.
  CHECK(scene.pick(policy, ten_blocks({10, 10, 0, 0})) >= 2);
  scene.fill(2);
  CHECK(scene.pick(policy, ten_blocks()) == 3);
  scene.fill(3);
  const Choice choice = scene.choose(policy, ten_blocks());
  CHECK(choice.hand_to == 0);
  CHECK(choice.primary == kNoSlot);
  CHECK_FALSE(choice.wait);
  CHECK(choice.reason == Reason::handed);
  CHECK(choice.candidates[0].slot < 2);
}

TEST_CASE("a hop is meant for the longest match out of reach beyond half, else the least load") {
  CutScene scene;
  const auto policy = with<SelectivePush>();
  scene.fill(2);
  scene.fill(3);
  scene.others(0, {.decoding_requests = 5});
  scene.others(1, {.decoding_requests = 4});
  const auto meant_for = [&](std::vector<std::uint32_t> hits) {
    return scene.choose(policy, ten_blocks(std::move(hits))).candidates[0].slot;
  };
  CHECK(meant_for({}) == 1);
  CHECK(meant_for({5, 0}) == 1);
  CHECK(meant_for({6, 0}) == 0);
  CHECK(meant_for({6, 7}) == 1);
  scene.others(1, {.prefilling_requests = 2});
  CHECK(meant_for({0, 10}) == 0);
}

TEST_CASE("hops can be switched off") {
  CutScene scene;
  scene.fill(2);
  scene.fill(3);
  const auto without = with<SelectivePush>("hops=0");
  CHECK(scene.choose(without, ten_blocks()).wait);
  // And then it is a panic if more than half look dead.
  scene.fleet.set_health(2, false);
  CHECK(scene.pick(without, ten_blocks()) < 2);
}

TEST_CASE("a hop goes to the nodes that reach the instance, each as likely") {
  CutScene scene;
  const auto policy = with<SelectivePush>();
  scene.builder.peers = {{"a", "a:1", {0}}, {"b", "b:1", {1}}, {"c", "c:1", {0, 2}}};
  scene.builder[1].others = {.decoding_requests = 9};
  scene.show();
  scene.fill(2);
  scene.fill(3);
  std::map<std::uint32_t, int> taken;
  for (int i = 0; i < 1000; ++i) ++taken[scene.choose(policy, ten_blocks()).hand_to];
  CHECK(taken[0] > 400);
  CHECK(taken[1] == 0);
  CHECK(taken[2] > 400);
}

TEST_CASE("no hop where none would help: nobody reaches more, no room there, or it made its hop") {
  CutScene scene;
  const auto policy = with<SelectivePush>();
  scene.fill(2);
  scene.fill(3);
  Arrival once = ten_blocks();
  once.handed = true;
  CHECK(scene.choose(policy, once).wait);
  scene.others(0, {.queued_requests = 1});
  scene.others(1, {.prefilling_requests = 2});
  CHECK(scene.choose(policy, ten_blocks()).wait);
  scene.others(0, {});
  CHECK(scene.choose(policy, ten_blocks()).hand_to == 0);
  scene.builder.peers[0].reaches = {2, 3};
  scene.show();
  CHECK(scene.choose(policy, ten_blocks()).wait);
  // In reach again: used from here.
  scene.fleet.set_health(0, true);
  CHECK(scene.pick(policy, ten_blocks()) == 0);
}

TEST_CASE("a node that reaches nothing hands over and does not take it for a panic") {
  CutScene scene;
  const auto policy = with<SelectivePush>();
  scene.fleet.set_health(2, false);
  scene.fleet.set_health(3, false);
  REQUIRE(scene.fleet.model("m")->panicking);
  CHECK(scene.choose(policy, ten_blocks()).hand_to != kNoPeer);
  for (Slot slot = 0; slot < 4; ++slot) scene.others(slot, {.prefilling_requests = 2});
  CHECK(scene.choose(policy, ten_blocks()).wait);
  // Back from a hop it may try what looks dead, as without other nodes.
  Arrival back = ten_blocks();
  back.handed = true;
  scene.others(3, {});
  CHECK(scene.pick(policy, back) == 3);
  scene.builder.peers.clear();
  scene.show();
  CHECK(scene.pick(policy, ten_blocks()) == 3);
}

TEST_CASE("a hop is recorded, explained, and ends as the other node says") {
  HopScene scene;
  const DecisionRecord asked = scene.scheduler.explain(prompt_of(9), scene.now);
  CHECK(asked.handed_to == "far");
  CHECK(asked.reason == Reason::handed);
  CHECK(asked.outcome == Outcome::pending);

  scene.submit(prompt_of(3));
  REQUIRE(scene.handed(3));
  CHECK(scene.effects.handed[0].peer == 0);
  CHECK(scene.effects.handed[0].prefill_s == doctest::Approx(1024 * 0.00016));
  CHECK(scene.effects.placed.empty());
  CHECK(scene.changes().size() == 1);  // of the instance in reach: it is no load of this node
  CHECK(scene.record(3).handed_to == "far");
  CHECK(scene.record(3).chosen == kNoSlot);

  scene.now += 200ms;
  scene.first_token(3);
  CHECK(scene.record(3).ttft_s == doctest::Approx(0.2));
  scene.finish(3);
  CHECK(scene.record(3).outcome == Outcome::finished);
  const SchedulerTotals totals = scene.scheduler.totals();
  CHECK(totals.handed == 1);
  CHECK(totals.finished == 1);
  CHECK(totals.input_tokens == 0);  // counted where it was placed
  CHECK(scene.scheduler.queues()[1].completed == 0);
}

TEST_CASE("two hops at a time for each instance out of reach; a first token makes room for one") {
  HopScene scene;
  for (RequestId id = 3; id <= 4; ++id) {
    scene.submit(prompt_of(id));
    CHECK(scene.handed(id));
  }
  scene.submit(prompt_of(5));
  CHECK(scene.waits(5));
  scene.submit(prompt_of(6));
  CHECK(scene.waits(6));
  scene.first_token(3);
  CHECK(scene.handed(5));
  scene.first_token(3);  // said again
  CHECK(scene.effects.handed.empty());
  scene.effects.clear();
  scene.scheduler.prefill_presumed(4, scene.now, scene.effects);
  CHECK(scene.handed(6));
  scene.submit(prompt_of(7));
  scene.submit(prompt_of(8));
  scene.finish(3);  // had its first token already
  CHECK(scene.effects.handed.empty());
  scene.finish(5);
  CHECK(scene.handed(7));
  scene.effects.clear();
  scene.scheduler.cancelled(6, scene.now, scene.effects);
  CHECK(scene.handed(8));
  CHECK(scene.scheduler.totals().handed == 6);
}

TEST_CASE("who comes back from a hop waits here, in its old place, and is not handed on again") {
  HopScene scene;
  scene.submit(prompt_of(3));
  scene.submit(prompt_of(4));
  scene.submit(prompt_of(5));
  REQUIRE(scene.waits(5));
  scene.fail(3, true);
  CHECK(scene.waits(3));
  CHECK(scene.record(3).retries == 1);
  CHECK(scene.record(3).handed_to.empty());
  CHECK(scene.handed(5));  // it goes where 3 has been, and is not held up by it
  scene.submit(prompt_of(6));
  CHECK(scene.waits(6));
  scene.first_token(1);
  REQUIRE(scene.effects.dispatched.size() == 1);
  CHECK(scene.effects.dispatched[0].id == 3);
  CHECK(scene.record(3).reason == Reason::retried);
  CHECK(scene.scheduler.totals().retried == 1);
  // One that fails for good is gone.
  scene.fail(4, false);
  CHECK(scene.record(4).outcome == Outcome::failed);
  CHECK(scene.handed(6));
}

TEST_CASE("who comes back from a hop and finds nothing here is refused") {
  HopScene scene;
  scene.submit(prompt_of(3));
  scene.builder[0].lifecycle = Lifecycle::draining;
  scene.builder[1].lifecycle = Lifecycle::draining;
  scene.show();
  scene.fail(3, true);
  REQUIRE(scene.effects.rejected.size() == 1);
  CHECK(scene.effects.rejected[0].why == Rejected::no_instance);
  CHECK(scene.record(3).outcome == Outcome::failed);
}

TEST_CASE("who waits is handed over when another node finds a way") {
  HopScene scene;
  scene.builder.peers[0].reaches = {0};
  scene.show();
  scene.submit(prompt_of(3));
  REQUIRE(scene.waits(3));
  scene.builder.peers[0].reaches = {0, 1};
  scene.show();
  CHECK(scene.handed(3));
  // What another node handed over waits here however others reach more.
  Arrival from_elsewhere = prompt_of(4);
  from_elsewhere.handed = true;
  scene.submit(std::move(from_elsewhere));
  CHECK(scene.waits(4));
  CHECK(scene.effects.handed.empty());
}

TEST_CASE("a request whose instance cannot be reached goes by way of another node") {
  Scene scene(1);
  scene.builder.view.settings.policy = "selective_push";
  scene.builder.peers = {{"far", "10.0.0.2:80", {0}}};
  scene.show();
  scene.submit(prompt_of(1));
  REQUIRE(scene.effects.dispatched.size() == 1);
  scene.health(0, false);  // its connection was refused
  scene.fail(1, true);
  REQUIRE(scene.effects.handed.size() == 1);
  CHECK(scene.record(1).handed_to == "far");
  scene.fail(1, true);
  CHECK(scene.effects.handed.empty());
  CHECK(scene.scheduler.live_requests() == 0);
}
