// dualmesh's choice on views made by hand. Unless said otherwise nothing waits anywhere, and of the
// 5,120 tokens of a request nothing is cached.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>

#include "policies/placement/dualmesh.h"
#include "tests/policies/cache_scene.h"
#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;

namespace {

constexpr std::uint64_t kBusy = 1'000'000'000;

// Found by the rings alone: the owners of the key and, for each, who comes after it.
std::set<Slot> expected_candidates(const CacheScene& scene, const Arrival& arrival,
                                   const std::vector<Slot>& excluded = {}) {
  const PlacementContext context = scene.context(excluded);
  const ModelView& model = *context.model.view;
  const std::uint64_t key = arrival.chain.prefix_key(1);
  std::set<Slot> result;
  const Slot a = model.ring_a.owner(key, [&](Slot slot) { return context.usable(slot); });
  const Slot b =
      model.ring_b.owner(key, [&](Slot slot) { return slot != a && context.usable(slot); });
  for (const Slot owner : {a, b}) {
    if (owner == kNoSlot) continue;
    result.insert(owner);
    Slot next = owner;  // slots are by name here
    do {
      next = static_cast<Slot>((next + 1) % scene.builder.view.instances.size());
    } while (!context.usable(next));
    result.insert(next);
  }
  return result;
}

// Those that are taken when all others have far too much to do.
std::set<Slot> candidates(CacheScene& scene, const Arrival& arrival,
                          const std::vector<Slot>& excluded = {}) {
  const DualMesh policy = with<DualMesh>();
  const std::size_t n = scene.builder.view.instances.size();
  std::set<Slot> result;
  for (Slot free = 0; free < n; ++free) {
    std::vector<std::uint64_t> tokens(n, kBusy);
    tokens[free] = 0;
    scene.pending(tokens);
    if (scene.pick(policy, arrival, excluded) == free) result.insert(free);
  }
  return result;
}

Arrival request_of(std::uint64_t key) { return arrival_of(1, {key, 2, 3, 4, 5, 6, 7, 8, 9, 10}); }

// A key whose candidates are all of the two instances; of them `a` is favoured with nine blocks.
struct Two {
  explicit Two(std::string_view parameters = {}) : policy(with<DualMesh>(parameters)) {}
  Slot pick() { return scene.pick(policy, arrival); }

  DualMesh policy;
  CacheScene scene{2};
  Arrival arrival = ten_blocks({9, 0});
};

}  // namespace

TEST_CASE("dualmesh: candidates are the two owners of the key and their neighbours") {
  CacheScene scene(8);
  std::set<std::size_t> sizes;
  for (std::uint64_t key = 0; key < 300; ++key) {
    CAPTURE(key);
    const Arrival arrival = request_of(key);
    const std::set<Slot> found = candidates(scene, arrival);
    CHECK(found == expected_candidates(scene, arrival));
    sizes.insert(found.size());
  }
  CHECK(sizes == std::set<std::size_t>{3, 4});  // 3: one owner is the neighbour of the other
}

TEST_CASE("dualmesh: candidates follow the key, not the request, its hits or the load elsewhere") {
  CacheScene scene(8);
  for (std::uint64_t key = 0; key < 50; ++key) {
    const std::set<Slot> before = candidates(scene, request_of(key));
    Arrival later = request_of(key);
    later.id = 77;
    later.input_tokens = 9'000;
    later.hit_blocks = {10, 0, 3, 0, 0, 7, 0, 1};
    CHECK(candidates(scene, later) == before);
  }
}

TEST_CASE("dualmesh: what cannot be used is no candidate, its neighbour is the next that can") {
  std::mt19937 random(1);
  CacheScene scene(6);
  for (std::uint64_t key = 0; key < 300; ++key) {
    CAPTURE(key);
    const Slot excluded = static_cast<Slot>(random() % 6);
    const Slot sick = static_cast<Slot>(random() % 6);
    const Slot leaving = static_cast<Slot>(random() % 6);
    scene.fleet.set_health(sick, false);
    scene.builder[leaving].lifecycle = Lifecycle::draining;
    scene.show();
    const Arrival arrival = request_of(key);
    CHECK(candidates(scene, arrival, {excluded}) ==
          expected_candidates(scene, arrival, {excluded}));
    scene.fleet.set_health(sick, true);
    scene.builder[leaving].lifecycle = Lifecycle::active;
    scene.show();
  }
}

TEST_CASE("dualmesh: the hit is taken when loads are equal") {
  const DualMesh policy = with<DualMesh>();
  CacheScene scene(8);
  for (std::uint64_t key = 0; key < 50; ++key) {
    Arrival arrival = request_of(key);
    for (const Slot holder : expected_candidates(scene, arrival)) {
      for (const std::uint64_t tokens : {std::uint64_t{0}, std::uint64_t{30'000}}) {
        arrival.hit_blocks.assign(8, 0);
        arrival.hit_blocks[holder] = 1;
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
  // 512 x (pending + 20,000) against 5,120 x 20,000: equal at 180,000 tokens.
  Two two;
  two.scene.pending({179'999, 0});
  CHECK(two.pick() == 0);
  two.scene.pending({180'001, 0});
  CHECK(two.pick() == 1);
  CHECK(two.scene.choose(two.policy, two.arrival).reason == Reason::shorter_ttft);
  // Queued or in prefill, here or at another node: all of it stands before.
  two.scene.own(0) = Load{.queued_tokens = 90'000, .prefilling_tokens = 60'000};
  two.scene.others(0, Load{.queued_tokens = 20'000, .prefilling_tokens = 9'999});
  CHECK(two.pick() == 0);
  two.scene.others(0, Load{.queued_tokens = 20'000, .prefilling_tokens = 10'001});
  CHECK(two.pick() == 1);
  // A lower price: 512 x (pending + 1,000) against 5,120 x 1,000.
  Two cheap("price_tokens=1000");
  cheap.scene.pending({8'999, 0});
  CHECK(cheap.pick() == 0);
  cheap.scene.pending({9'001, 0});
  CHECK(cheap.pick() == 1);
}

TEST_CASE("dualmesh: what is being decoded raises the price, by hand") {
  // 512 x (20,000 + 0.04 x decoding) against 5,120 x 20,000: equal at 4,500,000 tokens.
  Two two;
  two.scene.own(0) = Load{.decoding_tokens = 4'499'000};
  CHECK(two.pick() == 0);
  two.scene.own(0) = Load{.decoding_tokens = 4'501'000};
  CHECK(two.pick() == 1);
  two.scene.own(0) = Load{.decoding_tokens = 4'000'000};
  two.scene.others(0, Load{.decoding_tokens = 501'000});
  CHECK(two.pick() == 1);
  // The fleet fills: with the same on both, the hit is worth more than it was.
  two.scene.others(0, {});
  two.scene.own(0) = Load{.prefilling_tokens = 200'000, .decoding_tokens = 1'000'000};
  CHECK(two.pick() == 1);
  two.scene.own(1) = Load{.decoding_tokens = 1'000'000};  // 512 x 260,000 against 5,120 x 60,000
  CHECK(two.pick() == 0);
  Two without("decode=0");
  without.scene.own(0) = Load{.decoding_tokens = 100'000'000};
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
  const DualMesh policy = with<DualMesh>("price_tokens=3000,decode=0.5");
  CacheScene scene(8);
  for (int round = 0; round < 500; ++round) {
    CAPTURE(round);
    Arrival arrival = request_of(random());
    std::vector<double> cost(8);
    for (Slot slot = 0; slot < 8; ++slot) {
      arrival.hit_blocks.push_back(random() % 10);
      scene.own(slot) = Load{.queued_tokens = random() % 20'000,
                             .prefilling_tokens = random() % 9'000,
                             .decoding_tokens = random() % 50'000};
      const Load& own = scene.own(slot);
      cost[slot] = (5'120.0 - 512.0 * arrival.hit_blocks[slot]) *
                   (own.queued_tokens + own.prefilling_tokens + 3'000.0 +
                    0.5 * static_cast<double>(own.decoding_tokens));
    }
    const std::set<Slot> among = expected_candidates(scene, arrival);
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
