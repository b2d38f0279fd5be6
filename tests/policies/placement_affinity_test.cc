// The placements that look at affinity, with load as a bound at most, and DualMap's ablations, on
// views made by hand.
#include <string>

#include "policies/placement/consistent_hash.h"
#include "policies/placement/dualmap.h"
#include "policies/placement/dualmap_cache_affinity.h"
#include "policies/placement/dualmap_least_loaded.h"
#include "policies/placement/dualmap_min_ttft.h"
#include "policies/placement/dualmap_no_rebalance.h"
#include "policies/placement/prefix_affinity.h"
#include "policies/placement/ring_affinity.h"
#include "policies/placement/session_affinity.h"
#include "tests/policies/cache_scene.h"
#include "tests/policies/placement_scene.h"

using namespace dualmesh::policies;

namespace {

// The instances in the order in which ring A names them for `key`.
std::vector<Slot> ring_order(const PlacementScene& scene, BlockKey key) {
  std::vector<Slot> order;
  while (order.size() < scene.model().active.size()) {
    order.push_back(scene.model().ring_a.owner(key, [&](Slot slot) {
      return std::find(order.begin(), order.end(), slot) == order.end();
    }));
  }
  return order;
}

// Two different owners on the two rings, A with `hit_blocks` of four blocks cached.
struct TwoCandidates : PlacementScene {
  explicit TwoCandidates(std::uint32_t hit_blocks) : PlacementScene(8) {
    for (std::uint64_t block = 0; a == b; ++block) {
      arrival = arrival_of(1, {block, 1, 2, 3});
      const auto any = [](Slot) { return true; };
      a = model().ring_a.owner(arrival.chain.blocks[0], any);
      b = model().ring_b.owner(arrival.chain.blocks[0], any);
    }
    arrival.hit_tokens.resize(8);
    arrival.hit_tokens[a] = hit_blocks * kBlock;
  }
  void pending(std::uint64_t at_a, std::uint64_t at_b) {
    own(a).queued_tokens = at_a;
    others(b).prefilling_tokens = at_b;
    show();
  }
  Slot a = 0;
  Slot b = 0;
};

}  // namespace

TEST_CASE("placements by affinity take what can be used, and nothing else") {
  check_masks(SessionAffinity());
  check_masks(with<ConsistentHash>());
  check_masks(RingAffinity());
  check_masks(with<PrefixAffinity>());
  check_masks(DualMap());
  check_masks(DualMapLeastLoaded());
  check_masks(DualMapCacheAffinity());
  check_masks(DualMapMinTtft());
  check_masks(DualMapNoRebalance());
}

TEST_CASE(
    "session_affinity keeps a client at its instance, whatever it asks and whatever the load") {
  PlacementScene scene(5);
  const SessionAffinity policy;
  std::map<Slot, int> clients;
  for (std::uint64_t client = 1; client <= 200; ++client) {
    const std::vector<Slot> order = ring_order(scene, client);
    ++clients[order[0]];
    for (std::uint64_t turn = 0; turn < 3; ++turn) {
      scene.arrival = arrival_of(1, {client * 10 + turn});
      scene.arrival.client = client;
      scene.own(order[0]).queued_requests = static_cast<std::uint32_t>(turn * 100);
      const Choice choice = scene.choose(policy);
      CHECK(choice.primary == order[0]);
      CHECK(choice.backup == order[1]);
      CHECK(choice.reason == Reason::ring_owner);
    }
    CHECK(scene.choose(policy, {order[0]}).primary == order[1]);
    // Others are not moved by one that is masked.
    CHECK(scene.choose(policy, {order[4]}).primary == order[0]);
  }
  CHECK(clients.size() == 5);
}

TEST_CASE("session_affinity without a client is least_request") {
  PlacementScene scene(3);
  for (Slot slot = 0; slot < 3; ++slot) scene.own(slot).decoding_requests = 5;
  scene.others(1).queued_requests = 1;
  scene.others(2).queued_requests = 1;
  scene.show();
  for (std::uint64_t prompt = 0; prompt < 20; ++prompt) {
    scene.arrival = arrival_of(1, {prompt});
    CHECK(scene.choose(SessionAffinity()).primary == 0);
    CHECK(scene.choose(SessionAffinity()).reason == Reason::least_load);
  }
}

TEST_CASE("ring_affinity takes the owner of the key at its depth, whatever the load and the hits") {
  PlacementScene scene(6);
  const RingAffinity policy;
  CHECK(policy.default_order() == "longest_hit");
  CHECK_FALSE(policy.rebalances());
  std::set<Slot> owners;
  for (std::uint64_t block = 0; block < 50; ++block) {
    scene.arrival = arrival_of(1, {7, block, 2});  // all share the first block
    scene.depth = 2;
    const Slot owner = ring_order(scene, scene.arrival.chain.blocks[1])[0];
    owners.insert(owner);
    scene.own(owner).queued_tokens = 1'000'000;
    scene.arrival.hit_tokens.assign(6, 3 * kBlock);
    scene.arrival.hit_tokens[owner] = 0;
    CHECK(scene.choose(policy).primary == owner);
    CHECK(scene.choose(policy).reason == Reason::ring_owner);
    scene.depth = 1;
    CHECK(scene.choose(policy).primary == ring_order(scene, scene.arrival.chain.blocks[0])[0]);
  }
  CHECK(owners.size() == 6);
}

TEST_CASE("consistent_hash keeps to the owner up to (1 + epsilon) of the mean load") {
  PlacementScene scene(2);
  const ConsistentHash policy = with<ConsistentHash>();
  const std::vector<Slot> order = ring_order(scene, scene.arrival.chain.blocks[0]);
  // With this request 12 under way, 1.25 x 12 / 2 = 7.5: an instance takes up to 8.
  scene.own(order[0]) = {.queued_requests = 2, .prefilling_requests = 1};
  scene.others(order[0]) = {.decoding_requests = 4};
  scene.own(order[1]) = {.decoding_requests = 4};
  scene.show();
  CHECK(scene.choose(policy).primary == order[0]);
  CHECK(scene.choose(policy).backup == order[1]);
  CHECK(scene.choose(policy).reason == Reason::ring_owner);
  scene.own(order[0]).prefilling_requests = 2;  // 8 there, and 3 at the other
  scene.own(order[1]).decoding_requests = 3;
  CHECK(scene.choose(policy).primary == order[1]);
  CHECK(scene.choose(policy).backup == order[0]);
  CHECK(scene.choose(policy).reason == Reason::spilled);
  // 1.5 x 12 / 2 = 9.
  CHECK(scene.choose(with<ConsistentHash>("epsilon=0.5")).primary == order[0]);
  // Three times the weight: 1.25 x 12 x 3 / 4 = 11.25.
  scene.builder[order[0]].weight = 3;
  scene.show();
  CHECK(ring_order(scene, scene.arrival.chain.blocks[0]) == order);
  CHECK(scene.choose(policy).primary == order[0]);
  scene.own(order[0]).prefilling_requests = 5;  // 11 of 15: up to 14.06, so 15
  CHECK(scene.choose(policy).primary == order[0]);
}

TEST_CASE("consistent_hash goes on clockwise to the first with room, not to the least loaded") {
  PlacementScene scene(4);
  const ConsistentHash policy = with<ConsistentHash>();
  std::vector<Slot> order = ring_order(scene, scene.arrival.chain.blocks[0]);
  scene.own(order[0]).decoding_requests = 10;
  scene.own(order[1]).decoding_requests = 3;
  // 14 under way: 1.25 x 14 / 4 = 4.4, up to 5.
  CHECK(scene.choose(policy).primary == order[1]);
  // 21: 6.6, up to 7; the second is full as well.
  scene.own(order[1]).decoding_requests = 10;
  CHECK(scene.choose(policy).primary == order[2]);
  // What cannot be used has no share and no load: 21 over three, 8.75.
  scene.fleet.set_health(order[3], false);
  scene.own(order[3]).decoding_requests = 1'000;
  CHECK(scene.choose(policy).primary == order[2]);
  // It depends on the first block alone.
  scene.arrival.chain.blocks[1] ^= 1;
  scene.depth = 2;
  CHECK(scene.choose(policy).primary == order[2]);
}

TEST_CASE("consistent_hash bounds every instance even if all prompts begin alike") {
  PlacementScene scene(5);
  const ConsistentHash policy = with<ConsistentHash>();
  for (std::uint32_t placed = 1; placed <= 400; ++placed) {
    const Slot slot = scene.choose(policy).primary;
    REQUIRE(slot != kNoSlot);
    ++scene.own(slot).decoding_requests;
    // Never more than 1.25 / 5 = a quarter of all, rounded up.
    CHECK(scene.own(slot).decoding_requests <= (placed + 3) / 4);
  }
}

TEST_CASE("prefix_affinity keeps a system prompt at its instance until ten wait there") {
  PlacementScene scene(3);
  const PrefixAffinity policy = with<PrefixAffinity>();
  scene.arrival.system_key = 99;
  const std::vector<Slot> order = ring_order(scene, 99);
  scene.own(order[0]) = {.queued_requests = 4, .decoding_requests = 70};
  scene.others(order[0]) = {.prefilling_requests = 5};
  scene.own(order[1]).queued_requests = 8;
  scene.own(order[2]).queued_requests = 7;
  scene.show();
  CHECK(scene.choose(policy).primary == order[0]);  // 9
  CHECK(scene.choose(policy).backup == order[1]);
  CHECK(scene.choose(policy).reason == Reason::ring_owner);
  scene.own(order[0]).prefilling_requests = 1;  // 10
  CHECK(scene.choose(policy).primary == order[2]);
  CHECK(scene.choose(policy).backup == order[0]);
  CHECK(scene.choose(policy).reason == Reason::spilled);
  CHECK(scene.choose(with<PrefixAffinity>("limit=11")).primary == order[0]);
  // Nobody has fewer: leaving would only cost the cache.
  scene.own(order[1]).queued_requests = scene.own(order[2]).queued_requests = 10;
  for (int i = 0; i < 20; ++i) CHECK(scene.choose(policy).primary == order[0]);
  // The rest of the prompt does not matter.
  scene.own(order[0]) = {};
  for (std::uint64_t prompt = 0; prompt < 20; ++prompt) {
    scene.arrival = arrival_of(1, {prompt});
    scene.arrival.system_key = 99;
    CHECK(scene.choose(policy).primary == order[0]);
  }
}

TEST_CASE("prefix_affinity without a system prompt takes the shortest queue") {
  PlacementScene scene(3);
  scene.own(0).queued_requests = 2;
  scene.own(1).prefilling_requests = 1;
  scene.own(1).decoding_requests = 9;
  scene.others(2).queued_requests = 3;
  scene.show();
  for (std::uint64_t prompt = 0; prompt < 20; ++prompt) {
    scene.arrival = arrival_of(1, {prompt});
    CHECK(scene.choose(with<PrefixAffinity>()).primary == 1);
    CHECK(scene.choose(with<PrefixAffinity>()).reason == Reason::least_load);
  }
}

TEST_CASE("the ablations of dualmap have its candidates and each its own rule") {
  // Of 2,048 tokens A holds 1,536; the threshold is 2.5 s or 15,625 tokens at 160 us.
  TwoCandidates scene(3);
  struct Case {
    std::uint64_t pending_a, pending_b;
    bool dualmap_a, least_a, affinity_a, ttft_a;  // is A taken?
  };
  for (const Case& c : {
           // 3,512 tokens to A's first token, 2,148 to B's: within the threshold A's hit decides.
           Case{3'000, 100, true, false, true, false},
           // 20,512 and 21,048: beyond it the sooner one, which is A; B has less pending.
           Case{20'000, 19'000, true, false, true, true},
           // 30,512 and 21,048: only pure affinity stays at A.
           Case{30'000, 19'000, false, false, true, false},
           // 612 and 2,548: A by any rule.
           Case{100, 500, true, true, true, true},
       }) {
    CAPTURE(c.pending_a);
    scene.pending(c.pending_a, c.pending_b);
    const auto check = [&](const Policy& policy, bool a_taken) {
      CAPTURE(policy.name());
      const Choice choice = scene.choose(policy);
      CHECK(choice.candidates[0].slot == scene.a);
      CHECK(choice.candidates[1].slot == scene.b);
      CHECK(choice.primary == (a_taken ? scene.a : scene.b));
      CHECK(choice.backup == (a_taken ? scene.b : scene.a));
      CHECK(policy.default_order() == "longest_hit");
      CHECK(policy.rebalances() == (policy.name() == "dualmap"));
    };
    check(DualMap(), c.dualmap_a);
    check(DualMapNoRebalance(), c.dualmap_a);
    check(DualMapLeastLoaded(), c.least_a);
    check(DualMapCacheAffinity(), c.affinity_a);
    check(DualMapMinTtft(), c.ttft_a);
  }
  scene.pending(3'000, 100);
  CHECK(scene.choose(DualMapLeastLoaded()).reason == Reason::least_load);
  CHECK(scene.choose(DualMapCacheAffinity()).reason == Reason::longest_hit);
  CHECK(scene.choose(DualMapMinTtft()).reason == Reason::shorter_ttft);
}

TEST_CASE("the ablations of dualmap break ties by running tokens, then at random") {
  TwoCandidates scene(0);
  for (const char* name : {"dualmap_least_loaded", "dualmap_cache_affinity", "dualmap_min_ttft",
                           "dualmap_no_rebalance"}) {
    CAPTURE(name);
    const auto policy = make_policy(name);
    REQUIRE(policy != nullptr);
    scene.own(scene.a).decoding_tokens = 10;
    scene.own(scene.b).decoding_tokens = 9;
    CHECK(scene.choose(*policy).primary == scene.b);
    scene.own(scene.b).decoding_tokens = 11;
    CHECK(scene.choose(*policy).primary == scene.a);
    scene.own(scene.b).decoding_tokens = 10;
    auto counts = scene.counts(*policy, 1'000);
    // A fair coin leaves 400..600 with a chance of 3e-10.
    CHECK(counts[scene.a] > 400);
    CHECK(counts[scene.b] > 400);
  }
}
