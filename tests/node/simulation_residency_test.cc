// What simulated routers know of caches: exactly, late; what they have just placed; nothing.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "node/simulator/sim_router.h"
#include "policies/hits.h"
#include "tests/node/simulation_support.h"

namespace dualmesh::node {
namespace {

using policies::BlockKey;
using policies::Duration;
using policies::Slot;
using policies::Time;
using std::chrono::milliseconds;

constexpr std::size_t kCaches = 3;
constexpr BlockKey kFamilies = 4, kLongest = 9;

struct Forwarder final : CacheObserver {
  Forwarder(CacheEvents& to, const Time& at, Slot which) : events(to), now(at), slot(which) {}
  CacheEvents& events;
  const Time& now;
  Slot slot;
  void stored(BlockKey key) override { events.stored(slot, key, now); }
  void evicted(BlockKey key) override { events.removed(slot, key, now); }
  void cleared() override { events.cleared(slot, now); }
};

EngineRequest random_request(std::mt19937& random, RequestId id) {
  EngineRequest request;
  request.id = id;
  request.prompt_tokens = 1 + static_cast<std::uint32_t>(random() % (16 * kLongest));
  request.output_tokens = 1 + static_cast<std::uint32_t>(random() % 40);
  const BlockKey family = 100 * (1 + random() % kFamilies);
  for (BlockKey i = 0; i < request.prompt_tokens / 16; ++i) request.blocks.push_back(family + i);
  return request;
}

TEST_CASE("what is known exactly is what the engines held when the delay began") {
  std::size_t evictions = 0, clears = 0, compared = 0;
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const Duration delay = milliseconds(random() % 3 * 40);
    Time now{};
    CacheEvents events(delay);
    EngineParameters parameters;
    parameters.cache_tokens = 16 * 20;
    std::vector<EngineModel> engines(kCaches, EngineModel(parameters));
    std::vector<Forwarder> forwarders;
    for (Slot slot = 0; slot < kCaches; ++slot) forwarders.emplace_back(events, now, slot);
    for (Slot slot = 0; slot < kCaches; ++slot) engines[slot].observe_cache(&forwarders[slot]);
    // Each cache as it was from that time on.
    std::vector<std::map<Time, std::set<BlockKey>>> history(kCaches, {{Time{}, {}}});
    for (RequestId step = 0; step < 300; ++step) {
      now += milliseconds(random() % 30);
      const auto slot = static_cast<Slot>(random() % kCaches);
      EngineModel& engine = engines[slot];
      if (random() % 2 == 0) engine.enqueue(random_request(random, step));
      std::vector<Emission> emissions;
      if (engine.iterating()) {
        engine.finish_iteration(emissions);
      } else if (engine.cache().in_use() == 0 ? random() % 2 == 0 : random() % 16 == 0) {
        clears += engine.clear_cache();
      } else {
        engine.start_iteration(now);
      }
      const std::vector<BlockKey> keys = engine.cache().shared_keys();
      history[slot][now] = {keys.begin(), keys.end()};
      events.advance(now, [](Slot, BlockKey) {});
      for (Slot each = 0; each < kCaches && now >= delay; ++each) {
        const std::set<BlockKey>& then = std::prev(history[each].upper_bound(now - delay))->second;
        bool same = true;
        for (BlockKey key = 100; key < 100 * (kFamilies + 1) + kLongest; ++key) {
          same &= events.holders(key)[each] == then.contains(key);
          compared += then.contains(key);
        }
        REQUIRE(same);
      }
    }
    for (const EngineModel& engine : engines) evictions += engine.cache().evictions();
  }
  CHECK(evictions > 1000);
  CHECK(clears > 10);
  CHECK(compared > 100'000);
}

TEST_CASE("what was placed is expected for a while, until it is heard of or its instance is lost") {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    Speculation speculation;
    std::map<std::pair<BlockKey, Slot>, Time> naive;  // until then
    Time now{};
    for (int step = 0; step < 1000; ++step) {
      now += milliseconds(random() % 200);
      const BlockKey key = 1 + random() % 20;
      const auto slot = static_cast<Slot>(random() % kCaches);
      switch (random() % 8) {
        case 0:
          speculation.heard(slot, key);
          naive.erase({key, slot});
          break;
        case 1:
          if (random() % 8 > 0) break;
          speculation.forget(slot);
          std::erase_if(naive, [slot](const auto& entry) { return entry.first.second == slot; });
          break;
        case 2:
          speculation.expire(now);
          std::erase_if(naive, [now](const auto& entry) { return entry.second <= now; });
          REQUIRE(speculation.size() == naive.size());
          break;
        default:
          speculation.expect(slot, key, now);
          naive[{key, slot}] = now + Speculation::kLife;
      }
      for (BlockKey each = 1; each <= 20; ++each) {
        for (Slot at = 0; at < kCaches; ++at) {
          const auto found = naive.find({each, at});
          REQUIRE(speculation.at(each, now)[at] == (found != naive.end() && found->second > now));
        }
      }
    }
  }
}

policies::Arrival looked_up(const SimRouter& router, const std::vector<BlockKey>& blocks,
                            Time now) {
  policies::Arrival arrival;
  arrival.block_tokens = kBlockTokens;
  arrival.input_tokens = 100 * kBlockTokens;
  arrival.chain.blocks = blocks;
  router.look_up(arrival, now);
  return arrival;
}

SimRouterSettings one_router(CacheSight caches, const CacheEvents& events) {
  SimRouterSettings settings;
  settings.instances = {{"a", "10.0.0.1:80", {"model"}, 1.0}, {"b", "10.0.0.2:80", {"model"}, 1.0}};
  settings.caches = caches;
  settings.events = &events;
  return settings;
}

TEST_CASE("hits are what is held and what was sent there, block by block; the blind see none") {
  const std::vector<BlockKey> prompt{1, 2, 3, 4, 5};
  CacheEvents events(milliseconds(10));
  SimRouter exact(one_router(CacheSight::exact, events), 0, 1);
  SimRouter blind(one_router(CacheSight::blind, events), 1, 1);
  SimRouter predicted(one_router(CacheSight::predicted, events), 2, 1);
  policies::Effects effects;
  for (SimRouter* router : {&exact, &blind, &predicted}) router->refresh_view(Time{}, effects);
  const auto hit = [&](const SimRouter& router, Slot slot, Time now) {
    return policies::hit_tokens(looked_up(router, prompt, now), slot) / kBlockTokens;
  };
  for (const BlockKey key : {1, 2, 4}) events.stored(1, key, Time{});
  CHECK(hit(exact, 1, Time{}) == 0);
  const Time heard = milliseconds(10);
  events.advance(heard, [&](Slot slot, BlockKey key) { exact.heard(slot, key); });
  CHECK(hit(exact, 1, heard) == 2);
  for (SimRouter* router : {&exact, &blind, &predicted}) {
    router->placed(1, std::vector<BlockKey>{1, 2, 3}, heard);
  }
  CHECK(hit(exact, 1, heard) == 4);  // the third is on its way
  CHECK(hit(exact, 0, heard) == 0);
  CHECK(hit(predicted, 1, heard) == 3);
  CHECK(hit(blind, 1, heard) == 0);
  CHECK(hit(exact, 1, heard + Speculation::kLife) == 2);
  using policies::HitSource;
  CHECK(policies::hit_source(looked_up(exact, prompt, heard), 1) == HitSource::exact);
  CHECK(policies::hit_source(looked_up(predicted, prompt, heard), 1) == HitSource::predicted);
  CHECK(policies::hit_source(looked_up(blind, prompt, heard), 1) == HitSource::unknown);
}

std::vector<std::pair<double, Slot>> answers(const SimulationOutcome& outcome) {
  std::vector<std::pair<double, Slot>> all;
  for (const SimRequest& one : outcome.requests) all.emplace_back(one.ttft_s, one.instance);
  return all;
}

double cached_tokens(const SimulationOutcome& outcome) {
  double sum = 0;
  for (const SimRequest& request : outcome.requests) sum += request.cached_tokens;
  return sum;
}

SimulationSettings churning(CacheSight caches) {
  SimulationSettings settings = small_fleet(4, "load_cache_score");
  settings.engine.cache_tokens = 100 * kBlockTokens;
  settings.routers = 3;
  settings.kv_delay = milliseconds(20);
  settings.view_delay = milliseconds(20);
  settings.caches = caches;
  return settings;
}

TEST_CASE("however caches are seen, a run is a pure function of its seed") {
  const Workload workload = generate("zipf", {.requests = 800, .qps = 8, .seed = 3});
  for (const CacheSight caches : {CacheSight::exact, CacheSight::blind}) {
    SimulationSettings settings = churning(caches);
    const auto first = answers(simulated(settings, workload));
    CHECK(first == answers(simulated(settings, workload)));
    settings.seed = 2;
    CHECK_FALSE(first == answers(simulated(settings, workload)));
  }
}

TEST_CASE("who knows exactly hits more than the blind, and needs no idea of the caches' size") {
  const Workload workload = generate("zipf", {.requests = 800, .qps = 8, .seed = 3});
  SimulationSettings settings = churning(CacheSight::exact);
  const SimulationOutcome exact = simulated(settings, workload);
  CHECK(cached_tokens(exact) >
        1.2 * cached_tokens(simulated(churning(CacheSight::blind), workload)));
  settings.assumed_cache_tokens = 4096 * kBlockTokens;
  CHECK(answers(exact) == answers(simulated(settings, workload)));
  settings.caches = CacheSight::predicted;
  const auto wrong = answers(simulated(settings, workload));
  CHECK_FALSE(wrong == answers(simulated(churning(CacheSight::predicted), workload)));
}

TEST_CASE("requests that go past the routers are answered, and are known by the events alone") {
  const Workload workload = generate("zipf", {.requests = 600, .qps = 8, .seed = 3});
  SimulationSettings settings = churning(CacheSight::exact);
  settings.hidden_share = 0.25;
  settings.changes = {
      {.what = FleetChange::What::fails, .index = 1, .at = std::chrono::seconds(20)},
      {.what = FleetChange::What::returns, .index = 1, .at = std::chrono::seconds(40)}};
  const SimulationOutcome outcome = simulated(settings, workload);
  const auto hidden = std::count_if(
      outcome.requests.begin(), outcome.requests.end(),
      [](const SimRequest& request) { return request.router == SimRequest::kNobody; });
  CHECK(hidden > 100);
  CHECK(hidden < 200);
  CHECK(outcome.held_at_end == 0);
  for (const SimRequest& request : outcome.requests) {
    const bool broken = request.failed && request.ttft_s == SimRequest::kNever;
    REQUIRE((broken || request.e2e_s < SimRequest::kNever));
    // Nobody routes around a dead instance for them.
    if (broken) CHECK(request.arrival_s < 41);
  }
}

}  // namespace
}  // namespace dualmesh::node
