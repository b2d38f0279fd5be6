// dualmesh's choice on views made by hand. Unless said otherwise nothing waits anywhere, and of the
// 5,120 tokens of a request nothing is cached.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>

#include "policies/placement/dualmesh.h"
#include "tests/policies/cache_scene.h"
#include "tests/policies/candidate_scene.h"
#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;

namespace {

// A key whose candidates are all of the two instances; of them `a` is favoured with nine blocks.
struct Two {
  explicit Two(std::string_view parameters = {}) : policy(with<DualMesh>(parameters)) {}
  Slot pick() { return scene.pick(policy, arrival); }

  DualMesh policy;
  CacheScene scene{2};
  Arrival arrival = ten_blocks({9, 0});
};

}  // namespace

TEST_CASE("dualmesh: of those that hold as much of the prompt the one with the least to do") {
  const DualMesh policy = with<DualMesh>();
  CacheScene scene(8);
  for (std::uint64_t key = 0; key < 50; ++key) {
    Arrival arrival = request_of(key);
    const std::set<Slot> named = expected_candidates(scene, arrival);
    arrival.hit_tokens.assign(8, 9 * kBlock);
    Slot idle = kNoSlot;
    for (Slot slot = 0; slot < 8; ++slot) {
      if (named.count(slot) > 0) {
        arrival.hit_tokens[slot] = 0;
      } else {
        idle = slot;
      }
    }
    std::vector<std::uint64_t> tokens(8, 5'000);
    tokens[idle] = 4'999;
    scene.pending(tokens);
    CHECK(scene.pick(policy, arrival) == idle);
    // One that cannot be used is none of them.
    const Slot other = scene.pick(policy, arrival, {idle});
    CHECK(other != idle);
    CHECK(named.count(other) == 0);
  }
}

TEST_CASE("dualmesh: the hit is taken when loads are equal") {
  const DualMesh policy = with<DualMesh>();
  CacheScene scene(8);
  for (std::uint64_t key = 0; key < 50; ++key) {
    Arrival arrival = request_of(key);
    for (const Slot holder : expected_candidates(scene, arrival)) {
      for (const std::uint64_t tokens : {std::uint64_t{0}, std::uint64_t{30'000}}) {
        arrival.hit_tokens.assign(8, 0);
        arrival.hit_tokens[holder] = kBlock;
        scene.pending(std::vector<std::uint64_t>(8, tokens));
        const Choice choice = scene.choose(policy, arrival);
        CHECK(choice.primary == holder);
        CHECK(choice.reason == Reason::longest_hit);
        CHECK(choice.candidates[0].hit_tokens == 512);
        CHECK(choice.candidates[1].slot == choice.backup);
      }
    }
  }
}

TEST_CASE("dualmesh: the hit is left when the product says so, by hand") {
  // 512 x pending against 5,120 x 1,000: equal at 10,000 tokens.
  Two two("price=0,decode_tokens=0");
  two.scene.pending({9'999, 1'000});
  CHECK(two.pick() == 0);
  two.scene.pending({10'001, 1'000});
  CHECK(two.pick() == 1);
  CHECK(two.scene.choose(two.policy, two.arrival).reason == Reason::shorter_ttft);
  // Queued or in prefill, here or at another node: all of it stands before.
  two.scene.pending({0, 1'000});
  two.scene.own(0) = Load{.queued_tokens = 2'000, .prefilling_tokens = 4'000};
  two.scene.others(0, Load{.queued_tokens = 1'000, .prefilling_tokens = 2'999});
  CHECK(two.pick() == 0);
  two.scene.others(0, Load{.queued_tokens = 1'000, .prefilling_tokens = 3'001});
  CHECK(two.pick() == 1);
}

TEST_CASE("dualmesh: the price is of what waits at all instances of the model, by hand") {
  // One candidate holds 9 of 10 blocks, and 12,000 tokens wait there; nothing waits at the others.
  // 512 x (12,000 + m / 5) against 5,120 x m / 5, m the mean of six: equal at m = 6,667.
  CacheScene scene(6);
  const DualMesh policy = with<DualMesh>("price=0.2,decode_tokens=0");
  int looked_at = 0;
  for (std::uint64_t key = 0; key < 100; ++key) {
    Arrival arrival = request_of(key);
    const std::set<Slot> named = expected_candidates(scene, arrival);
    const Slot holder = *named.begin();
    Slot beside = 0;  // no candidate
    while (named.count(beside) > 0) ++beside;
    if (beside == 6) continue;
    ++looked_at;
    arrival.hit_tokens.assign(6, 0);
    arrival.hit_tokens[holder] = 9 * kBlock;
    std::vector<std::uint64_t> tokens(6, 0);
    tokens[holder] = 12'000;
    tokens[beside] = 27'900;  // a mean of 6,650
    scene.pending(tokens);
    CHECK(scene.pick(policy, arrival) != holder);
    tokens[beside] = 28'100;  // 6,683
    scene.pending(tokens);
    CHECK(scene.pick(policy, arrival) == holder);
  }
  CHECK(looked_at > 50);
}

TEST_CASE("dualmesh: where nobody waits, what a hit saves stands against what decodes, by hand") {
  Two two;
  two.arrival = ten_blocks({1, 0});  // 4,608 x (1 + decoding) against 5,120
  for (int i = 0; i < 20; ++i) CHECK(two.pick() == 0);
  two.scene.own(0) = Load{.decoding_requests = 1};
  CHECK(two.pick() == 1);
  two.arrival = ten_blocks({9, 0});  // 512 x (1 + decoding) against 5,120: equal at 9
  two.scene.own(0) = Load{.decoding_requests = 8};
  CHECK(two.pick() == 0);
  two.scene.own(0) = Load{.decoding_requests = 10};
  CHECK(two.pick() == 1);
}

TEST_CASE("dualmesh: what is being decoded counts as work that waits, by hand") {
  // 512 x (200 + 200 x decoding) against 5,120 x (1,000 + 200): equal at 59 sequences.
  Two two("price=0");
  two.scene.pending({0, 1'000});
  two.scene.own(0) = Load{.decoding_requests = 58};
  CHECK(two.pick() == 0);
  two.scene.own(0) = Load{.decoding_requests = 60};
  CHECK(two.pick() == 1);
  two.scene.own(0) = Load{.decoding_requests = 40};
  two.scene.others(0, Load{.decoding_requests = 20});  // of all nodes
  CHECK(two.pick() == 1);
  // Their contexts say nothing: each takes its part of an iteration.
  two.scene.others(0, Load{.decoding_requests = 18, .decoding_tokens = 100'000'000});
  CHECK(two.pick() == 0);
  Two without("price=0,decode_tokens=0");
  without.scene.pending({0, 1'000});
  without.scene.own(0) = Load{.decoding_requests = 1'000};
  CHECK(without.pick() == 0);
}

TEST_CASE("dualmesh: a token costs what it costs where it is computed") {
  Two two;
  two.arrival = ten_blocks({5, 0});  // half of it
  two.scene.builder[0].prefill_s_per_token = 0.000199;
  two.scene.builder[1].prefill_s_per_token = 0.0001;
  two.scene.show();
  CHECK(two.pick() == 0);
  two.scene.builder[0].prefill_s_per_token = 0.000201;
  two.scene.show();
  CHECK(two.pick() == 1);
}

TEST_CASE("dualmesh: cached as a whole it still waits for its last token") {
  Two two;
  two.arrival = ten_blocks({10, 10});
  two.scene.pending({1'000, 0});
  for (int i = 0; i < 20; ++i) CHECK(two.pick() == 1);
  two.scene.pending({0, 1'000});
  for (int i = 0; i < 20; ++i) CHECK(two.pick() == 0);
}

TEST_CASE("dualmesh: of random views the candidate with the least cost, beside a twin") {
  std::mt19937 random(7);
  const DualMesh policy = with<DualMesh>("price=3,decode_tokens=50");
  CacheScene scene(8);
  for (int round = 0; round < 500; ++round) {
    CAPTURE(round);
    Arrival arrival = request_of(random());
    double pending = 0;  // everywhere
    for (Slot slot = 0; slot < 8; ++slot) {
      arrival.hit_tokens.push_back(random() % 10 * kBlock);
      scene.own(slot) = Load{.decoding_requests = static_cast<std::uint32_t>(random() % 100),
                             .queued_tokens = random() % 20'000,
                             .prefilling_tokens = random() % 9'000};
      pending += static_cast<double>(scene.own(slot).pending_tokens());
    }
    std::vector<double> cost(8);
    std::set<Slot> among = expected_candidates(scene, arrival);
    Slot holder = 0;
    for (Slot slot = 0; slot < 8; ++slot) {
      const Load& own = scene.own(slot);
      cost[slot] = (5'120.0 - arrival.hit_tokens[slot]) *
                   (static_cast<double>(own.pending_tokens()) + 3 * pending / 8 +
                    50.0 * (own.decoding_requests + 1));
      const Load& best = scene.own(holder);
      const std::uint32_t hit = arrival.hit_tokens[slot];
      const std::uint32_t most = arrival.hit_tokens[holder];
      if (hit > most || (hit == most && own.pending_tokens() < best.pending_tokens())) {
        holder = slot;
      }
    }
    among.insert(holder);
    const auto pending_at = [&](Slot slot) { return scene.own(slot).pending_tokens(); };
    Slot least = 0;
    for (Slot slot = 1; slot < 8; ++slot) {
      if (pending_at(slot) < pending_at(least)) least = slot;
    }
    among.insert(least);
    std::vector<Slot> by_cost(among.begin(), among.end());
    std::sort(by_cost.begin(), by_cost.end(), [&](Slot x, Slot y) { return cost[x] < cost[y]; });
    const Choice choice = scene.choose(policy, arrival);
    CHECK(choice.primary == by_cost[0]);
    CHECK(choice.backup == by_cost[1]);
    CHECK(choice.candidates[0].slot == by_cost[0]);
    CHECK(choice.candidates[1].slot == by_cost[1]);
  }
}

TEST_CASE("dualmesh: one instance, none, and some that cannot be used") {
  DualMesh policy = with<DualMesh>();
  check_masked_holders(policy);
  CacheScene one(1);
  const Choice choice = one.choose(policy, ten_blocks());
  CHECK(choice.primary == 0);
  CHECK(choice.backup == kNoSlot);
  CHECK(choice.reason == Reason::only_candidate);
  CHECK(one.pick(policy, ten_blocks(), {0}) == kNoSlot);
  CacheScene two(2);
  const Choice both = two.choose(policy, ten_blocks({0, 4}));
  CHECK(both.primary == 1);
  CHECK(both.backup == 0);
}

TEST_CASE("dualmesh: equal costs do not all fall to the same instance") {
  const DualMesh policy = with<DualMesh>();
  for (const std::size_t instances : {2U, 8U}) {
    CacheScene scene(instances);
    const auto taken = scene.spread(policy, ten_blocks());
    CHECK(taken.size() >= 2);
    for (const auto& [slot, times] : taken) CHECK(times < 600);
  }
}

TEST_CASE("dualmesh: explained as it is chosen, its ties too") {
  SchedulerSettings settings;
  settings.policy = "dualmesh";
  dualmesh::policies::Scene scene(5, settings);
  scene.builder.view.settings.policy = "dualmesh";
  scene.show();
  for (RequestId id = 1; id <= 60; ++id) {
    CAPTURE(id);
    const Arrival arrival = arrival_of(id, {id % 7, id % 3}, {0, 1, 0, 0, 1});
    const DecisionRecord first = scene.scheduler.explain(arrival, scene.now);
    scene.submit(arrival);
    const DecisionRecord done = scene.record(id);
    CHECK(done.policy == "dualmesh");
    CHECK(scene.effects.placed[0].slot == first.chosen);
    CHECK(done.backup == first.backup);
    CHECK(done.reason == first.reason);
    CHECK(done.candidates[0].slot == first.candidates[0].slot);
    CHECK(done.candidates[0].pending_tokens == first.candidates[0].pending_tokens);
    CHECK(done.candidates[1].ttft_s == first.candidates[1].ttft_s);
    if (id % 3 == 0) scene.first_token(id - 1);
    if (id % 4 == 0) scene.finish(id - 2);
  }
}

TEST_CASE("dualmesh: waits in the order slo and is moved only from where two SLOs of work wait") {
  const DualMesh policy = with<DualMesh>();
  CHECK(policy.default_order() == "slo");
  CHECK(policy.rebalances());
  CHECK(policy.rebalance_rule().source_slos == 2.0);
  CHECK(!policy.rebalance_rule().by_wait);
}

TEST_CASE("dualmesh: of two as good as equal the one whose hit is surer") {
  Two two;
  two.arrival = ten_blocks({9, 9});
  std::set<Slot> taken;
  for (int i = 0; i < 50; ++i) taken.insert(two.pick());
  CHECK(taken == std::set<Slot>{0, 1});
  for (const Slot sure : {Slot{0}, Slot{1}}) {
    for (const HitSource source : {HitSource::degraded, HitSource::exact}) {
      two.arrival.hit_sources.assign(2, HitSource::predicted);
      two.arrival.hit_sources[sure] = source;
      for (int i = 0; i < 20; ++i) CHECK(two.pick() == sure);
    }
  }
  // Nothing is cached there, however sure that is.
  two.arrival = ten_blocks({0, 0});
  two.arrival.hit_sources = {HitSource::predicted, HitSource::exact};
  taken.clear();
  for (int i = 0; i < 50; ++i) taken.insert(two.pick());
  CHECK(taken == std::set<Slot>{0, 1});
  // And it is worth no more than `near`: a block is a tenth of what both have to compute.
  two.arrival = ten_blocks({0, 1});
  two.arrival.hit_sources = {HitSource::exact, HitSource::predicted};
  for (int i = 0; i < 20; ++i) CHECK(two.pick() == 1);
}

TEST_CASE("dualmesh: a predicted token can be taken for less than one that is known") {
  Two two("predicted=0.5");
  two.arrival = ten_blocks({9, 5});
  CHECK(two.pick() == 0);  // both predicted
  two.arrival.hit_sources = {HitSource::predicted, HitSource::exact};
  for (int i = 0; i < 20; ++i) CHECK(two.pick() == 1);  // 4.5 blocks against 5
  two.arrival.hit_tokens[1] = 4 * kBlock;
  for (int i = 0; i < 20; ++i) CHECK(two.pick() == 0);
  const Choice choice = two.scene.choose(two.policy, two.arrival);
  CHECK(choice.candidates[0].source == HitSource::predicted);
  CHECK(choice.candidates[1].source == HitSource::exact);
  CHECK(choice.candidates[0].hit_tokens == 9 * kBlock);
}
