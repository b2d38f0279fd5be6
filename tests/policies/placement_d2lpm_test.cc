// D2LPM's decisions on fleets made by hand.
#include "policies/placement/d2lpm.h"
#include "policies/policy_registry.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;

namespace {

constexpr std::uint64_t kA = 11, kB = 22;

Arrival of(std::uint64_t client, std::vector<std::uint32_t> hits = {}) {
  Arrival arrival = ten_blocks(std::move(hits));  // 5,120 tokens
  arrival.client = client;
  return arrival;
}

}  // namespace

TEST_CASE("d2lpm never takes what is masked") {
  auto policy = with<D2lpm>();
  check_masked_holders(policy);
}

TEST_CASE("d2lpm takes the shortest queue of those that hold the longest prefix") {
  CacheScene scene(4);
  auto policy = with<D2lpm>();
  scene.decoding({9, 3, 2, 0});
  CHECK(scene.pick(policy, of(kA, {8, 8, 7})) == 1);
  CHECK(scene.choose(policy, of(kA, {8, 8, 7})).reason == Reason::longest_hit);
  CHECK(scene.pick(policy, of(kA)) == 3);
  CHECK(scene.choose(policy, of(kA)).reason == Reason::least_load);
  // The other nodes' requests count as well.
  scene.others(1, Load{.queued_requests = 7});
  CHECK(scene.pick(policy, of(kA, {8, 8, 7})) == 0);
}

TEST_CASE("d2lpm refills all instances when none has credit, and charges the one taken") {
  CacheScene scene(3);
  auto policy = with<D2lpm>("quantum=1000");
  scene.decoding({0, 1, 2});
  CHECK(scene.take(policy, of(kA)).primary == 0);
  CHECK(policy.credit(kA, 0) == 1000 - 5120);
  CHECK(policy.credit(kA, 1) == 1000);
  CHECK(policy.credit(kB, 0) == 0);
  // Its holder has no credit: any that has some, the shortest queue, not the second-longest hit.
  const Arrival held = of(kA, {9, 0, 8});
  CHECK(scene.choose(policy, held).primary == 1);
  CHECK(scene.choose(policy, held).reason == Reason::spilled);
  CHECK(scene.take(policy, held).primary == 1);
  CHECK(scene.take(policy, held).primary == 2);
  CHECK(policy.credit(kA, 2) == 1000 - 1024);
  // At -4,120, -4,120 and -24: one more refill.
  CHECK(scene.take(policy, held).primary == 2);
  CHECK(policy.credit(kA, 0) == 2000 - 5120);
  CHECK(policy.credit(kA, 2) == 2000 - 2 * 1024);
  // Another client has credits of its own.
  CHECK(scene.take(policy, of(kB, {9, 0, 8})).primary == 0);
  CHECK(policy.credit(kB, 0) == 1000 - 512);
}

TEST_CASE("d2lpm refills until there is credit, at once and by as much as round by round") {
  CacheScene scene(2);
  auto policy = with<D2lpm>("quantum=1000");
  scene.take(policy, of(kA, {0, 10}));  // holder: nothing to compute
  CHECK(policy.credit(kA, 1) == 1000);
  policy.ended(of(kA), 1, {2000, true, {}});
  policy.ended(of(kA), 0, {2000, true, {}});
  CHECK(policy.credit(kA, 0) == -3000);
  // -3,000 at both: three refills make 0, which is not credit.
  scene.take(policy, of(kA, {0, 10}));
  CHECK(policy.credit(kA, 0) == 1000);
  CHECK(policy.credit(kA, 1) == 1000);
}

TEST_CASE("d2lpm charges answers at the end, by the instance that gave them") {
  CacheScene scene(2);
  auto policy = with<D2lpm>("quantum=1000,extend=0.5,output=3");
  scene.decoding({0, 5});
  scene.take(policy, of(kA));
  CHECK(policy.credit(kA, 0) == 1000 - 2560);
  policy.ended(of(kA), 1, {10, true, {}});
  CHECK(policy.credit(kA, 1) == 970);
  policy.ended(of(kB), 1, {10, true, {}});  // placed by another policy
  CHECK(policy.credit(kB, 1) == 0);
}

TEST_CASE("d2lpm: what cannot be used gets no refills; each node has a whole quantum") {
  CacheScene scene(3);
  auto policy = with<D2lpm>("quantum=1000");
  scene.fleet.set_health(2, false);
  scene.take(policy, of(kA));
  CHECK(policy.credit(kA, 2) == 0);
  scene.builder.view.live_nodes = 4;
  scene.show();
  scene.take(policy, of(kB));
  CHECK(policy.credit(kB, 0) + policy.credit(kB, 1) == 2000 - 5120);
}

TEST_CASE("d2lpm begins all credits anew when clients are too many, and counts it") {
  CacheScene scene(1);
  auto policy = with<D2lpm>("quantum=1000");
  for (std::uint64_t client = 1; client <= D2lpm::kMaxClients; ++client) {
    scene.take(policy, of(client));
  }
  CHECK(policy.begun_anew() == 0);
  scene.take(policy, of(D2lpm::kMaxClients));
  CHECK(policy.begun_anew() == 0);
  scene.take(policy, of(D2lpm::kMaxClients + 1));
  CHECK(policy.begun_anew() == 1);
  CHECK(policy.credit(1, 0) == 0);
}

TEST_CASE("d2lpm queues in an order of the registry, with credits per instance") {
  CHECK(is_queue_order(with<D2lpm>().default_order()));
  CHECK(with<D2lpm>().default_order() == "dlpm:per_instance=1");
}
