#include "policies/rebalancer.h"

#include <doctest/doctest.h>

#include "tests/policies/rebalancer_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

struct ReliefScene : RebalancerScene {
  using RebalancerScene::RebalancerScene;
  Rebalancer::Moves relieve(Slot source, Time now = 1s) {
    return RebalancerScene::relieve(source, now, 64);
  }
};

}  // namespace

TEST_CASE("nothing moves from an instance within its threshold") {
  ReliefScene scene(3);
  for (int i = 0; i < 5; ++i) scene.queue(1000, 0, 1);  // 5,000 tokens: not over
  CHECK(scene.relieve(0).empty());
  scene.queue(1, 0, 1);
  CHECK(scene.relieve(0).size() == 1);
}

TEST_CASE("the largest benefit moves first, until the excess has moved, by hand") {
  ReliefScene scene(3);
  // At instance 0, in this order: 2,000 + 2,000 + 1,000 + 1,500 = 6,500 tokens, 1,500 too many.
  LiveRequest& first = scene.queue(2000, 0, 1, 1ms);
  LiveRequest& second = scene.queue(2000, 0, 1, 2ms);
  LiveRequest& third = scene.queue(1000, 0, 1, 3ms);
  LiveRequest& fourth = scene.queue(1500, 0, 1, 4ms);
  // Instance 1 has 600 tokens prefilling. Benefits: first 2.0 - 2.6 < 0; second 4.0 - 2.6 = 1.4;
  // third 5.0 - 1.6 = 3.4; fourth 6.5 - 2.1 = 4.4.
  scene.fleet.at(1).own.prefilling_tokens = 600;
  const Rebalancer::Moves moves = scene.relieve(0);
  REQUIRE(moves.size() == 1);  // 1,500 moved, as many as were too many
  CHECK(moves[0].request == &fourth);
  CHECK(moves[0].to == 1);
  CHECK(fourth.slot == 1);
  CHECK(scene.fleet.at(0).own.queued_tokens == 5000);
  CHECK(scene.fleet.at(1).own.queued_tokens == 1500);
  CHECK(first.slot == 0);
  CHECK(second.slot == 0);
  CHECK(third.slot == 0);
}

TEST_CASE("moving goes on while there is excess, each move counted before the next") {
  ReliefScene scene(3);
  // Six of 1,000 and one of 3,000 at the end: 9,000 tokens, 4,000 too many.
  std::vector<LiveRequest*> small;
  for (int i = 0; i < 6; ++i) small.push_back(&scene.queue(1000, 0, 1, i * 1ms));
  LiveRequest& large = scene.queue(3000, 0, 1, 9ms);
  const Rebalancer::Moves moves = scene.relieve(0);
  // Benefits to an empty instance 1: the large one 9 - 3 = 6, the sixth 6 - 1 = 5, the fifth 4.
  // The large one goes first. Then the sixth would stand before it there (earlier arrival):
  // 6 - 1 = 5 still. Moved: 4,000.
  REQUIRE(moves.size() == 2);
  CHECK(moves[0].request == &large);
  CHECK(moves[1].request == small[5]);
  CHECK(scene.fleet.at(1).queue.head().request == small[5]);
}

TEST_CASE("a target that is overloaded, or would become so, is passed over for the neighbour") {
  ReliefScene scene(4);
  scene.fleet.at(1).own.prefilling_tokens = 4500;  // 600 more are too many
  LiveRequest& a = scene.queue(6000, 0, 1, 1ms);
  LiveRequest& b = scene.queue(600, 0, 1, 2ms);
  SUBCASE("the next by name, skipping source and target") {
    const Rebalancer::Moves moves = scene.relieve(0);
    // `a` finds nobody who could take 6,000. `b`: 6.6 s here, 0.6 s at the neighbour.
    REQUIRE(moves.size() == 1);
    CHECK(moves[0].request == &b);
    CHECK(moves[0].to == 2);
  }
  SUBCASE("a neighbour that is overloaded too ends it: only one is tried") {
    scene.fleet.at(2).own.prefilling_tokens = 4500;
    CHECK(scene.relieve(0).empty());
  }
  SUBCASE("an unusable one is no neighbour") {
    scene.fleet.set_health(2, false);
    const Rebalancer::Moves moves = scene.relieve(0);
    REQUIRE(moves.size() == 1);
    CHECK(moves[0].to == 3);
  }
  SUBCASE("room at the other candidate comes first") {
    scene.fleet.at(1).own.prefilling_tokens = 4400;
    const Rebalancer::Moves moves = scene.relieve(0);
    REQUIRE(moves.size() == 1);
    CHECK(moves[0].to == 1);
  }
  CHECK(a.slot == 0);
}

TEST_CASE("no target is filled beyond its threshold, however much there is to move") {
  ReliefScene scene(4);
  for (int i = 0; i < 30; ++i) scene.queue(1000, 0, 1, i * 1ms);  // 25,000 tokens too many
  const Rebalancer::Moves moves = scene.relieve(0);
  // Five fit at the other candidate, five at the neighbour, and only one neighbour is tried.
  CHECK(moves.size() == 10);
  CHECK(scene.fleet.at(1).own.queued_tokens == 5000);
  CHECK(scene.fleet.at(2).own.queued_tokens == 5000);
  CHECK(scene.fleet.at(3).own.queued_tokens == 0);
  // The end of the queue has moved: its requests gained most.
  CHECK(scene.fleet.at(0).queue[19].key.id == 20);
}

TEST_CASE("moving stops where it no longer pays") {
  ReliefScene scene(2);
  scene.fleet.at(0).own.prefilling_tokens = 5000;
  for (int i = 0; i < 4; ++i) scene.queue(1000, 0, 1, 10s + i * 1ms);
  scene.fleet.at(1).own.prefilling_tokens = 1500;
  // In seconds: 9 here against 2.5 there; then 8 against 2.5 (earlier arrivals stand before the one
  // moved); 7 against 2.5 would be a fifth second there: 1.5 + 3 = 4.5 is still within 5.
  CHECK(scene.relieve(0, 11s).size() == 3);
  // A source that is slow only by waiting: gains shrink from 3 s by 1 s, costs stay.
  ReliefScene slow(2);
  for (int i = 0; i < 3; ++i) slow.queue(1000, 0, 1, i * 1ms);
  slow.fleet.at(1).own.prefilling_tokens = 900;
  // Third: 3 - 1.9; then the second: 2 - 1.9; the first: 1 - 1.9 does not pay.
  const Rebalancer::Moves moves = slow.relieve(0, 5s);
  REQUIRE(moves.size() == 2);
  CHECK(moves[0].request->arrival.id == 3);
  CHECK(moves[1].request->arrival.id == 2);
}

TEST_CASE("a move that does not pay is not made") {
  ReliefScene scene(2);
  // All cached here, nothing there: 100 tokens to compute here against 4,000 there.
  scene.fleet.at(0).own.prefilling_tokens = 3000;
  scene.queue(4000, 0, 1, 1ms, {39, 0});
  for (int i = 0; i < 20; ++i) scene.queue(4000, 0, 1, 2ms, {39, 0});
  REQUIRE(scene.fleet.overloaded(0, 1s));
  // The last of 21 waits 3.0 + 2.1 s here and would take 4.0 s there: it pays from 4.0 s on, so for
  // those behind the ninth.
  const Rebalancer::Moves moves = scene.relieve(0);
  REQUIRE(moves.size() == 1);  // one takes 4,000 tokens there; the next would be beyond 5,000
  CHECK(moves[0].request->arrival.id == 21);
}

TEST_CASE("an instance somebody has waited for too long is overloaded, with no bound on tokens") {
  ReliefScene scene(2);
  scene.fleet.at(0).own.prefilling_tokens = 1000;
  scene.queue(100, 0, 1, 0s);
  scene.queue(100, 0, 1, 1s);
  CHECK(scene.relieve(0, 2900ms).empty());
  CHECK(scene.relieve(0, 3000ms).size() == 2);
}

TEST_CASE("where others have waited too long is no place to move to") {
  ReliefScene scene(3);
  scene.builder[1].others.head_wait_ms = 3000;
  scene.show();
  for (int i = 0; i < 7; ++i) scene.queue(1000, 0, 1);
  for (const Rebalancer::Move& move : scene.relieve(0)) CHECK(move.to == 2);
}

TEST_CASE("the pending prefill of other nodes counts at source and target") {
  ReliefScene scene(2);
  scene.builder[0].others.prefilling_tokens = 4900;
  scene.show();
  scene.queue(200, 0, 1);
  CHECK(scene.relieve(0).size() == 1);
  ReliefScene other(2);
  other.builder[0].others.prefilling_tokens = 4900;
  other.builder[1].others.queued_tokens = 4900;
  other.show();
  other.queue(200, 0, 1);
  CHECK(other.relieve(0).empty());
}

TEST_CASE("nodes that queue at one instance share its excess, instead of each moving all of it") {
  // Here 3,200 tokens wait, at two other nodes 6,300 together: 9,500 tokens, 4,500 too many. A
  // third of that is ours: two requests of 800.
  ReliefScene scene(2);
  scene.builder[0].others.queued_tokens = 6300;
  scene.builder[0].others_queueing = 2;
  scene.show();
  for (int i = 0; i < 4; ++i) scene.queue(800, 0, 1, i * 1ms);
  CHECK(scene.relieve(0).size() == 2);
  // The same tokens of others, but prefilling: nobody else has anything to move.
  ReliefScene alone(2);
  alone.builder[0].others.prefilling_tokens = 5500;
  alone.show();
  for (int i = 0; i < 4; ++i) alone.queue(1000, 0, 1, i * 1ms);
  CHECK(alone.relieve(0).size() == 4);
}

TEST_CASE("no more requests are examined than the budget allows, those that wait longest first") {
  ReliefScene scene(2);
  for (int i = 0; i < 100; ++i) scene.queue(100, 0, 1, i * 1ms);  // 10,000: 5,000 too many
  Rebalancer::Moves moves;
  std::uint32_t budget = 10;
  scene.rebalancer.relieve(0, scene.order, {}, 1s, budget, moves);
  CHECK(budget == 0);
  CHECK(moves.size() <= 10);
  REQUIRE(!moves.empty());
  for (const Rebalancer::Move& move : moves) CHECK(move.request->arrival.id > 90);
  scene.rebalancer.relieve(0, scene.order, {}, 1s, budget, moves);
  CHECK(moves.size() <= 10);
}

TEST_CASE("a request that was moved to the neighbour may come back to its candidates, not stay") {
  ReliefScene scene(4);
  LiveRequest& request = scene.queue(400, 3, 1, 1ms);
  request.candidates[0] = 0;  // waits at 3, the neighbour of long ago
  scene.fleet.at(3).own.prefilling_tokens = 6000;
  const Rebalancer::Moves moves = scene.relieve(3);
  REQUIRE(moves.size() == 1);
  CHECK(moves[0].to == 0);
}
