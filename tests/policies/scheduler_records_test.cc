// What the scheduler learns from first tokens, and what it shows of its decisions.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

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

TEST_CASE("a record tells owners on two rings from an instance that was chosen and its backup") {
  Scene scene(5);
  const auto explain = [&](const char* policy, std::uint64_t block) {
    scene.builder.view.settings.policy = policy;
    scene.show();
    return scene.scheduler.explain(arrival_of(1, {block}), scene.now);
  };
  for (std::uint64_t block = 0; block < 50; ++block) {
    for (const char* policy : {"dualmap", "dualmap_no_rebalance", "dualmap_min_ttft"}) {
      const DecisionRecord record = explain(policy, block);
      const Ring& ring = scene.builder.view.models.at("m").ring_a;
      CHECK(record.by_ring);
      CHECK(record.candidates[0].slot == ring.owner(record.ring_key, [](Slot) { return true; }));
    }
    for (const char* policy : {"dualmesh", "round_robin", "least_request", "ring_affinity"}) {
      CAPTURE(policy);
      const DecisionRecord record = explain(policy, block);
      CHECK(!record.by_ring);
      CHECK(record.candidates[0].slot == record.chosen);
      CHECK(record.candidates[1].slot == record.backup);
    }
  }
}

TEST_CASE("prefill cost is learned from those alone, from one ahead of one, and from that one") {
  SchedulerSettings settings;
  settings.prefill_limit = 3;
  Scene scene(1, settings);
  const auto cost = [&] { return scene.scheduler.queues()[0].prefill_s_per_token; };
  RequestId id = 0;
  const auto submit = [&](std::size_t blocks) {
    ++id;
    scene.submit(arrival_of(id, std::vector<std::uint64_t>(blocks, id)));
  };
  for (int i = 0; i < 10; ++i) {
    for (int k = 0; k < 3; ++k) submit(1);
    scene.now += 7s;
    scene.first_token(id - 2);  // two behind it: who knows what they took
    scene.now += 512ms;
    scene.first_token(id - 1);  // served since the one before it ended
    scene.now += 7s;
    scene.first_token(id);  // sent while two were before it
  }
  CHECK(cost() == doctest::Approx(0.001));
  for (int i = 0; i < 40; ++i) {  // in pairs
    submit(1);
    submit(1);
    scene.now += 1024ms;
    scene.first_token(id - 1);
    scene.now += 1024ms;
    scene.first_token(id);
  }
  CHECK(cost() == doctest::Approx(0.002));
  for (int i = 0; i < 40; ++i) {  // alone
    submit(2);
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
      scene.scheduler.finished(id, {512, 128}, scene.now, scene.effects);
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
