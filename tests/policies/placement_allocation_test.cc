// No policy allocates when it chooses: counted, for every name of the registry.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "policies/policy_registry.h"
#include "tests/policies/placement_scene.h"

namespace {
std::atomic<std::uint64_t> allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

using namespace dualmesh::policies;

TEST_CASE("the counter of this test counts") {
  const std::uint64_t before = allocations.load();
  const auto policy = make_policy("random");
  CHECK(allocations.load() > before);
}

TEST_CASE("no policy allocates when it chooses") {
  constexpr std::size_t kInstances = 64;
  PlacementScene scene(kInstances);
  for (Slot slot = 0; slot < kInstances; ++slot) {
    scene.own(slot).queued_requests = slot % 13;
    scene.own(slot).queued_tokens = slot % 13 * 4'000;
    scene.others(slot).decoding_requests = slot % 7;
  }
  scene.show();
  const std::vector<Slot> excluded{3, 5};
  const PlacementContext context{scene.fleet, *scene.fleet.model("m"), excluded};
  std::vector<Arrival> arrivals;
  for (std::uint64_t session = 0; session < 50; ++session) {
    std::vector<std::uint64_t> blocks(128, session);
    arrivals.push_back(arrival_of(session, blocks));
    arrivals.back().client = arrivals.back().system_key = session % 20;  // some without
    arrivals.back().hit_blocks.resize(kInstances);
    for (Slot slot = 0; slot < kInstances; ++slot) {
      arrivals.back().hit_blocks[slot] = static_cast<std::uint32_t>(session * slot % 129);
    }
  }
  for (const std::string& name : policy_names()) {
    CAPTURE(name);
    const auto policy = make_policy(name);
    std::uint64_t counted = 0;
    for (const Arrival& arrival : arrivals) {
      const PlacementRequest request{arrival, 2, arrival.chain.prefix_key(2)};
      const std::uint64_t before = allocations.load();
      const Choice choice = policy->choose(request, context, scene.random);
      counted += allocations.load() - before;
      REQUIRE(choice.primary != kNoSlot);
      policy->taken(request, context, choice);
    }
    CHECK(counted == 0);
  }
}
