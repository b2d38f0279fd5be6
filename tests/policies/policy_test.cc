// Decisions of the single policies on views made by hand.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "policies/placement/dualmap.h"
#include "policies/policy_registry.h"
#include "policies/placement/round_robin.h"
#include "tests/policies/fleet_builder.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// A fleet, a request on it, and the two candidates that the rings name for it.
struct ChoiceScene {
  explicit ChoiceScene(std::size_t instances) : builder(instances), fleet(SchedulerSettings{}) {
    show();
  }
  void show() { fleet.set_view(builder.build()); }

  Choice choose(const Policy& policy, const Arrival& arrival, std::vector<Slot> excluded = {}) {
    const PlacementRequest request{arrival, 1, arrival.chain.prefix_key(1)};
    return policy.choose(request, {fleet, *fleet.model("m"), excluded}, random);
  }
  // A prompt whose candidates differ.
  Arrival arrival(std::vector<std::uint32_t> hits = {}) {
    for (std::uint64_t block = 0;; ++block) {
      Arrival a = arrival_of(1, {block, 1, 2, 3});
      const Choice choice = choose(dualmap, a);
      const ModelView& model = fleet.view().models.at("m");
      const auto any = [](Slot) { return true; };
      if (model.ring_a.owner(a.chain.blocks[0], any) == model.ring_b.owner(a.chain.blocks[0], any))
        continue;
      a_slot = choice.candidates[0].slot;
      b_slot = choice.candidates[1].slot;
      a.hit_tokens.resize(builder.view.instances.size());
      if (hits.size() == 2) {
        a.hit_tokens[a_slot] = hits[0] * kBlock;
        a.hit_tokens[b_slot] = hits[1] * kBlock;
      }
      return a;
    }
  }

  FleetBuilder builder;
  Fleet fleet;
  DualMap dualmap;
  Random random{1};
  Slot a_slot = kNoSlot;
  Slot b_slot = kNoSlot;
};

}  // namespace

TEST_CASE("dualmap takes the candidate with the longer hit and keeps the other as backup") {
  ChoiceScene scene(8);
  const Arrival a = scene.arrival({1, 3});
  const Choice choice = scene.choose(scene.dualmap, a);
  CHECK(choice.primary == scene.b_slot);
  CHECK(choice.backup == scene.a_slot);
  CHECK(choice.reason == Reason::longest_hit);
  CHECK(choice.candidates[0].hit_tokens == 512);
  CHECK(choice.candidates[1].hit_tokens == 1536);
  // 2,048 tokens, none pending: the misses at 160 us each.
  CHECK(choice.candidates[0].ttft_s == doctest::Approx(1536 * 0.00016));
  CHECK(choice.candidates[1].ttft_s == doctest::Approx(512 * 0.00016));
}

TEST_CASE("dualmap counts pending prefill of this node and of the others, queued and dispatched") {
  ChoiceScene scene(8);
  const Arrival a = scene.arrival({2, 0});
  scene.builder[scene.a_slot].others.queued_tokens = 1000;
  scene.builder[scene.a_slot].others.prefilling_tokens = 200;
  scene.builder[scene.a_slot].others.decoding_tokens = 1'000'000;  // no prefill
  scene.show();
  scene.fleet.at(scene.a_slot).own.queued_tokens = 30;
  scene.fleet.at(scene.a_slot).own.prefilling_tokens = 4;
  const Choice choice = scene.choose(scene.dualmap, a);
  CHECK(choice.candidates[0].pending_tokens == 1234);
  CHECK(choice.candidates[0].ttft_s == doctest::Approx((1234 + 1024) * 0.00016));
  CHECK(choice.primary == scene.a_slot);
}

TEST_CASE("dualmap leaves the longer hit when its first token would take more than half the SLO") {
  ChoiceScene scene(8);
  const Arrival a = scene.arrival({4, 0});  // all of it cached at A
  // 2.5 s at 160 us a token are 15,625 tokens.
  scene.builder[scene.a_slot].others.queued_tokens = 15'625;
  scene.show();
  CHECK(scene.choose(scene.dualmap, a).primary == scene.a_slot);
  CHECK(scene.choose(scene.dualmap, a).reason == Reason::longest_hit);
  scene.builder[scene.a_slot].others.queued_tokens = 15'700;
  scene.show();
  const Choice moved = scene.choose(scene.dualmap, a);
  CHECK(moved.primary == scene.b_slot);
  CHECK(moved.backup == scene.a_slot);
  CHECK(moved.reason == Reason::shorter_ttft);
  // Both beyond it, the preferred one less so: it stays, for the same reason.
  scene.builder[scene.b_slot].others.queued_tokens = 20'000;
  scene.show();
  CHECK(scene.choose(scene.dualmap, a).primary == scene.a_slot);
  CHECK(scene.choose(scene.dualmap, a).reason == Reason::shorter_ttft);
  // A faster instance bears more.
  scene.builder[scene.b_slot].prefill_s_per_token = 0.00001;
  scene.show();
  CHECK(scene.choose(scene.dualmap, a).primary == scene.b_slot);
}

TEST_CASE("dualmap breaks an equal hit by running tokens, own and others', then at random") {
  ChoiceScene scene(8);
  const Arrival a = scene.arrival({2, 2});
  scene.builder[scene.a_slot].others.decoding_tokens = 100;
  scene.show();
  CHECK(scene.choose(scene.dualmap, a).primary == scene.b_slot);
  CHECK(scene.choose(scene.dualmap, a).reason == Reason::equal_hit);
  scene.fleet.at(scene.b_slot).own.decoding_tokens = 101;
  CHECK(scene.choose(scene.dualmap, a).primary == scene.a_slot);
  scene.fleet.at(scene.b_slot).own.decoding_tokens = 100;
  std::map<Slot, int> taken;
  for (int i = 0; i < 1'000; ++i) ++taken[scene.choose(scene.dualmap, a).primary];
  // A fair coin leaves 400..600 with a chance of 3e-10.
  CHECK(taken[scene.a_slot] > 400);
  CHECK(taken[scene.b_slot] > 400);
}

TEST_CASE("dualmap's candidates are a pure function of the key, distinct, and stood in for") {
  ChoiceScene scene(5);
  const ModelView& model = *scene.fleet.model("m")->view;
  const auto any = [](Slot) { return true; };
  int collisions = 0;
  for (std::uint64_t block = 0; block < 300; ++block) {
    const Arrival a = arrival_of(1, {block});
    const BlockKey key = a.chain.blocks[0];
    const Choice choice = scene.choose(scene.dualmap, a);
    const Slot first = model.ring_a.owner(key, any);
    CHECK(choice.candidates[0].slot == first);
    const Slot second = model.ring_b.owner(key, [&](Slot s) { return s != first; });
    CHECK(choice.candidates[1].slot == second);
    collisions += model.ring_b.owner(key, any) == first ? 1 : 0;

    // Masked by health, by lifecycle or because it failed there: the next on that ring.
    scene.fleet.set_health(first, false);
    const Choice without = scene.choose(scene.dualmap, a);
    const Slot next = model.ring_a.owner(key, [&](Slot s) { return s != first; });
    CHECK(without.candidates[0].slot == next);
    scene.fleet.set_health(first, true);
    const Choice excluded = scene.choose(scene.dualmap, a, {first});
    CHECK(excluded.candidates[0].slot == without.candidates[0].slot);
    CHECK(excluded.candidates[1].slot == without.candidates[1].slot);
  }
  CHECK(collisions > 20);  // one in five keys has one owner on both rings
}

TEST_CASE("dualmap with one usable instance has one candidate, with none no choice") {
  ChoiceScene scene(2);
  const Arrival a = scene.arrival();
  const Choice one = scene.choose(scene.dualmap, a, {scene.a_slot});
  CHECK(one.primary == scene.b_slot);
  CHECK(one.backup == kNoSlot);
  CHECK(one.reason == Reason::only_candidate);
  CHECK(scene.choose(scene.dualmap, a, {0, 1}).primary == kNoSlot);
}

TEST_CASE("round robin gives every instance its turn, per model, and asks without taking it") {
  ChoiceScene scene(3);
  RoundRobin policy;
  const Arrival a = arrival_of(1, {1});
  std::vector<Slot> order;
  for (int i = 0; i < 7; ++i) {
    const Choice asked = scene.choose(policy, a);
    const Choice choice = scene.choose(policy, a);
    CHECK(asked.primary == choice.primary);
    CHECK(choice.reason == Reason::round_robin);
    const PlacementRequest request{a, 1, a.chain.prefix_key(1)};
    policy.taken(request, {scene.fleet, *scene.fleet.model("m"), {}}, choice);
    order.push_back(choice.primary);
  }
  CHECK(order == std::vector<Slot>{0, 1, 2, 0, 1, 2, 0});
  CHECK(scene.choose(policy, a, {1}).primary == 2);
  CHECK(scene.choose(policy, a, {1, 2}).primary == 0);
  CHECK(scene.choose(policy, a, {1, 2}).reason == Reason::only_candidate);
  CHECK(scene.choose(policy, a, {0, 1, 2}).primary == kNoSlot);
}

TEST_CASE("the registry makes what it names and nothing else") {
  for (const std::string& name : policy_names()) {
    CHECK(is_policy(name));
    REQUIRE(make_policy(name) != nullptr);
    CHECK(make_policy(name)->name() == name);
  }
  CHECK(is_policy("dualmap"));
  CHECK(is_policy("round_robin"));
  CHECK_FALSE(is_policy(""));
  CHECK_FALSE(is_policy("dualmap "));
  CHECK(make_policy("least_loaded") == nullptr);
}

TEST_CASE("a policy may name the order in which requests wait") {
  CHECK(is_policy("dualmap@vtc"));
  CHECK(is_policy("load_cache_score:alpha=0.5@slo:wait_bound_s=10"));
  CHECK(is_policy("dualmap@none"));
  CHECK(make_policy("dualmap@vtc")->name() == "dualmap");
  CHECK(check_policy("dualmap@").starts_with("there is no queue order ''; allowed: "));
  CHECK(check_policy("dualmap@vtc@fifo").starts_with("there is no queue order 'vtc@fifo'"));
  CHECK(check_policy("nobody@vtc").starts_with("there is no policy 'nobody'"));
  CHECK(check_policy("dualmap@vtc:weight=1").starts_with("vtc: there is no parameter 'weight'"));
}
