// Which instances are dualmesh's candidates: the rings' owners, their neighbours, who has least and
// who holds most.
#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "policies/placement/dualmesh.h"
#include "tests/policies/cache_scene.h"
#include "tests/policies/candidate_scene.h"
#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;

namespace {

constexpr std::uint64_t kBusy = 1'000'000'000;

// Those that are taken when all others have far too much to do, and nobody holds anything; but for
// the one with the least pending, which decodes too much to be taken.
std::set<Slot> candidates(CacheScene& scene, const Arrival& arrival,
                          const std::vector<Slot>& excluded = {}) {
  const DualMesh policy = with<DualMesh>("price=0");
  const std::size_t n = scene.builder.view.instances.size();
  std::set<Slot> result;
  for (Slot free = 0; free < n; ++free) {
    Slot least = free;
    do {
      least = static_cast<Slot>((least + 1) % n);
    } while (least != free && !scene.context(excluded).usable(least));
    std::vector<std::uint64_t> tokens(n, kBusy);
    tokens[least] = 0;
    tokens[free] = 1;
    scene.pending(tokens);
    scene.own(least).decoding_requests = 1'000'000'000;
    if (scene.pick(policy, arrival, excluded) == free) result.insert(free);
    scene.own(least).decoding_requests = 0;
  }
  return result;
}

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

TEST_CASE("dualmesh: whoever has the least pending is a candidate, whatever the key") {
  const DualMesh policy = with<DualMesh>();
  CacheScene scene(8);
  for (std::uint64_t key = 0; key < 20; ++key) {
    for (Slot least = 0; least < 8; ++least) {
      std::vector<std::uint64_t> tokens(8, kBusy);
      tokens[least] = 0;
      scene.pending(tokens);
      CHECK(scene.pick(policy, request_of(key)) == least);
    }
  }
  scene.pending({kBusy, 0, kBusy, 0, kBusy, 0, kBusy, 0});
  std::set<Slot> taken;
  for (std::uint64_t key = 0; key < 100; ++key) taken.insert(scene.pick(policy, request_of(key)));
  CHECK(taken == std::set<Slot>{1, 3, 5, 7});
}

TEST_CASE("dualmesh: candidates follow the key and who holds most, not the load elsewhere") {
  CacheScene scene(8);
  for (std::uint64_t key = 0; key < 50; ++key) {
    std::set<Slot> expected = candidates(scene, request_of(key));
    Arrival later = request_of(key);
    later.id = 77;
    later.input_tokens = 9'000;
    later.hit_tokens = {9 * kBlock, 0, 3 * kBlock, 0, 0, 7 * kBlock, 0, kBlock};
    expected.insert(0);  // and neither 2, 5 nor 7 unless the key names it
    CHECK(candidates(scene, later) == expected);
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
