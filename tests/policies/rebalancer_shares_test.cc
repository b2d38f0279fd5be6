// Rebalancing by many nodes: each has its share of a target's room, and no request moves for ever.
#include <doctest/doctest.h>

#include "tests/policies/rebalancer_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// Requests wait at instance 0; 1 is their other candidate.
struct SharesScene : RebalancerScene {
  explicit SharesScene(std::uint32_t other_nodes, std::size_t instances = 2)
      : RebalancerScene(instances) {
    builder[0].others_queueing = other_nodes;
    show();
  }
  std::size_t relieve(Time now, const RebalanceRule& rule = {}, Slot source = 0) {
    return RebalancerScene::relieve(source, now, 1'000, rule).size();
  }
  // From where it waits to the other.
  bool moves(LiveRequest& request, Time now) {
    const Slot from = request.slot;
    fleet.at(from).own.prefilling_tokens = 9'000;
    fleet.at(1 - from).own.prefilling_tokens = 0;
    return relieve(now, {}, from) == 1;
  }
};

}  // namespace

TEST_CASE("shares: a node fills one part of the target's room in as many as queue at the source") {
  for (const std::uint32_t nodes : {1U, 2U, 5U, 10U}) {
    CAPTURE(nodes);
    SharesScene scene(nodes - 1);
    for (int i = 0; i < 800; ++i) scene.queue(100);  // 75,000 tokens too many
    scene.relieve(1s);
    CHECK(scene.fleet.at(1).own.queued_tokens == 5'000 / nodes);
    // Of what is left, as others have work there too.
    SharesScene half(nodes - 1);
    half.builder[1].others.prefilling_tokens = 2'500;
    half.show();
    for (int i = 0; i < 800; ++i) half.queue(50);
    half.relieve(1s);
    CHECK(half.fleet.at(1).own.queued_tokens == 2'500 / nodes);
  }
}

TEST_CASE("shares: the share is a node's for the length of a lease, however often it asks") {
  SharesScene scene(4);
  for (int i = 0; i < 800; ++i) scene.queue(100);
  CHECK(scene.relieve(1s) == 10);
  CHECK(scene.relieve(1s) == 0);
  CHECK(scene.relieve(1s + kLease - 1ns) == 0);
  // By now the others' part has been heard of: 4,000 tokens of theirs, if they filled it.
  scene.builder[1].others.queued_tokens = 3'000;
  scene.show();
  CHECK(scene.relieve(1s + kLease - 1ns) == 0);
  CHECK(scene.relieve(1s + kLease) == 2);  // 1,000 / 5 of what was left
  CHECK(scene.relieve(1s + kLease) == 0);
}

TEST_CASE("shares: what has moved is counted until a lease after the last of it") {
  // Or a node could fill two shares in a moment, at the end of one lease and the start of the next.
  SharesScene scene(4);
  for (int i = 0; i < 800; ++i) scene.queue(100);
  scene.builder[1].others.queued_tokens = 4'000;  // room for 1,000: a share of 200
  scene.show();
  CHECK(scene.relieve(1s) == 2);
  scene.builder[1].others.queued_tokens = 0;
  scene.show();
  CHECK(scene.relieve(1s + kLease - 10ms) == 8);  // a share of 1,000, of which 200 are gone
  CHECK(scene.relieve(1s + kLease + 10ms) == 0);
  CHECK(scene.relieve(1s + 2 * kLease - 10ms - 1ns) == 0);
  CHECK(scene.relieve(1s + 2 * kLease - 10ms) == 8);  // 4,000 / 5
}

TEST_CASE("shares: until a lease after it became hot, all live nodes are taken to queue there") {
  // None of them may have been heard of yet.
  SharesScene scene(4);
  scene.builder.view.live_nodes = 10;
  scene.show();
  for (int i = 0; i < 800; ++i) scene.queue(100);
  CHECK(scene.relieve(1s) == 5);  // 5,000 / 10
  CHECK(scene.relieve(1s + kLease - 1ns) == 0);
  CHECK(scene.relieve(1s + kLease) == 9);  // 4,500 / 5
  // Cool for a moment, it begins anew.
  const RebalanceRule never{.source_slos = 100, .by_wait = false};
  CHECK(scene.relieve(1600ms, never) == 0);
  CHECK(scene.relieve(1900ms) == 3);  // 3,600 / 10
}

TEST_CASE("shares: what has been dispatched there meanwhile still counts as moved") {
  SharesScene scene(4);
  for (int i = 0; i < 800; ++i) scene.queue(100);
  CHECK(scene.relieve(1s) == 10);
  while (!scene.fleet.at(1).queue.empty()) {
    LiveRequest& first = *scene.fleet.at(1).queue.head().request;
    scene.ledger.dispatch(first, 1, 100, 1s);
    scene.ledger.first_token(first, 1s);
  }
  CHECK(scene.fleet.pending_tokens(1) == 0);
  CHECK(scene.relieve(1s + 10ms) == 2);  // (5,000 + 1,000) / 5 less 1,000
}

TEST_CASE("shares: each target has its own") {
  SharesScene scene(4, 3);
  for (int i = 0; i < 400; ++i) scene.queue(100, 0, 1);
  for (int i = 0; i < 400; ++i) scene.queue(100, 0, 2);
  scene.relieve(1s);
  CHECK(scene.fleet.at(1).own.queued_tokens == 1'000);
  CHECK(scene.fleet.at(2).own.queued_tokens == 1'000);
}

TEST_CASE("a request is moved twice at most") {
  SharesScene scene(0);
  LiveRequest& request = scene.queue(100);
  CHECK(scene.moves(request, 1s));
  CHECK(request.slot == 1);
  CHECK(scene.moves(request, 2s));
  CHECK(request.slot == 0);
  CHECK(request.record.migrations == 2);
  CHECK(!scene.moves(request, 3s));
  CHECK(!scene.moves(request, 1000s));
  CHECK(request.slot == 0);
  LiveRequest& fresh = scene.queue(100);
  CHECK(scene.moves(fresh, 1001s));
}

TEST_CASE("a rule of two SLOs: requests move from beyond 20 s of work, down to that") {
  const RebalanceRule rule{.source_slos = 2.0, .by_wait = false};
  SharesScene scene(0);
  for (int i = 0; i < 20; ++i) scene.queue(1'000);
  CHECK(scene.relieve(1s, rule) == 0);
  scene.queue(1'000);
  scene.queue(1'000);
  CHECK(scene.relieve(1s, rule) == 2);
  CHECK(scene.relieve(1s, rule) == 0);
  CHECK(scene.fleet.pending_tokens(0) == 20'000);
  // The room of the target is half an SLO as ever.
  for (int i = 0; i < 20; ++i) scene.queue(1'000);
  scene.relieve(2s, rule);
  CHECK(scene.fleet.pending_tokens(1) == 5'000);
  CHECK(scene.relieve(3s) == 0);
}

TEST_CASE("a rule without waits: nobody moves for having waited, however long") {
  SharesScene scene(0);
  scene.queue(100);
  scene.queue(100);
  CHECK(scene.relieve(1000s, {.source_slos = 0.5, .by_wait = false}) == 0);
  CHECK(scene.relieve(1000s, {.source_slos = 0.5, .by_wait = true}) == 1);  // the second gains
}
