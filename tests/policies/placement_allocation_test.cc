// No policy allocates when it chooses, and dualmap nowhere from submission to dispatch: counted.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <new>

#include "policies/policy_registry.h"
#include "policies/scheduler.h"
#include "tests/policies/placement_scene.h"

namespace {
std::atomic<std::uint64_t> allocations{0};
}  // namespace

// Not inlined, or compilers see one half of the pair and take it for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  allocations.fetch_add(1, std::memory_order_relaxed);
  return std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

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
    arrivals.back().hit_tokens.resize(kInstances);
    for (Slot slot = 0; slot < kInstances; ++slot) {
      arrivals.back().hit_tokens[slot] =
          static_cast<std::uint32_t>(session * slot % 129) * kBlock;
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

TEST_CASE("dualmap allocates nothing to place a request, under full queues") {
  constexpr std::size_t kInstances = 64;
  FleetBuilder builder(kInstances, "meta-llama/Llama-3.1-8B-Instruct");
  Scheduler scheduler(SchedulerSettings{});
  Effects effects;
  Time now{};
  scheduler.set_view(builder.build(), now, effects);
  std::deque<RequestId> running;
  std::uint64_t counted = 0;
  RequestId last = 0;
  const auto submit = [&] {
    std::vector<std::uint64_t> blocks(128);
    for (std::size_t i = 1; i < blocks.size(); ++i) blocks[i] = last % 500 * 1'000 + i;
    Arrival arrival = arrival_of(++last, blocks, std::vector<std::uint32_t>(kInstances));
    arrival.model = "meta-llama/Llama-3.1-8B-Instruct";
    arrival.hit_tokens[last % kInstances] = static_cast<std::uint32_t>(last * 31 % 129) * kBlock;
    const std::uint64_t before = allocations.load();
    scheduler.submit(std::move(arrival), now, effects);
    counted += allocations.load() - before;
  };
  const auto finish_one = [&] {
    for (const auto& dispatch : effects.dispatched) running.push_back(dispatch.id);
    effects.clear();
    if (running.empty()) return;
    scheduler.first_token(running.front(), now, effects);
    scheduler.finished(running.front(), {}, now, effects);
    running.pop_front();
  };
  // Until the log of decisions is full and every queue has once been longer than it will be.
  while (scheduler.live_requests() < kInstances * 64) {
    submit();
    for (const auto& dispatch : effects.dispatched) running.push_back(dispatch.id);
    effects.clear();
  }
  while (scheduler.live_requests() > kInstances * 16) finish_one();
  for (int i = 0; i < 8'000; ++i) {
    if (i == 4'000) counted = 0;
    now += std::chrono::milliseconds(1);
    submit();
    finish_one();
  }
  CHECK(scheduler.live_requests() > kInstances * 8);
  CHECK(counted == 0);
}
