#include "node/kv/kv_exchange.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "tests/node/kv/kv_mesh_sim.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace std::chrono_literals;

namespace {

// DUALMESH_KV_SEEDS: as many seeds in place of a few, DUALMESH_KV_FIRST: from there; by hand.
std::uint64_t number(const char* name, std::uint64_t otherwise) {
  const char* const wanted = std::getenv(name);
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : otherwise;
}
std::uint64_t first_seed() { return number("DUALMESH_KV_FIRST", 1); }
std::uint64_t last_seed(std::uint64_t few) {
  return first_seed() + number("DUALMESH_KV_SEEDS", few) - 1;
}

void troubled_run(const KvSimSettings& settings, policies::Duration trouble) {
  KvMeshSim sim(settings);
  sim.run(trouble, true, true);
  CHECK(sim.violation() == "");
  sim.heal();
  sim.run(1s, true, false);  // so that a life that nobody heard of is
  sim.run(1s, false, false);
  for (std::size_t i = 0; i < settings.engines; i += 2) sim.was_away(i % settings.nodes, i);
  sim.run(1s, false, false);
  const std::vector<StreamKey> completable = sim.completable();
  sim.run(12s, false, false);
  CHECK(sim.violation() == "");
  CHECK(sim.difference() == "");
  for (const StreamKey& stream : completable) {
    CAPTURE(stream.instance);
    CHECK(sim.all_complete(stream));
  }
}

KvSimSettings troubled(std::uint64_t seed) {
  KvSimSettings settings;
  settings.seed = seed;
  settings.nodes = 2 + seed % 5;
  settings.engines = 1 + seed % 4;
  settings.observers = seed % 7 == 0 ? kAllObservers : 1 + seed % 3;
  settings.faults = 0.06;
  settings.replay = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 40 : 400;
  if (seed % 2 == 0) settings.loss = settings.duplication = 0.1;
  if (seed % 4 < 2) settings.live_loss = 0.01;
  if (seed % 5 == 0) settings.max_message_bytes = 600;
  if (seed % 11 == 0) settings.limits.log_changes = 20;
  return settings;
}

}  // namespace

TEST_CASE("a healthy mesh: all know all, without fetching") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    KvSimSettings settings;
    settings.seed = seed;
    settings.observers = 1 + seed % 2;
    KvMeshSim sim(settings);
    sim.run(5s, true, false);
    sim.run(1s, false, false);
    CHECK(sim.violation() == "");
    CHECK(sim.difference() == "");
    for (std::size_t engine = 0; engine < settings.engines; ++engine) {
      CHECK(sim.all_complete(sim.key(engine)));
    }
    for (const auto& node : sim.nodes()) {
      CHECK(node.exchange->mesh_known());
      CHECK(node.exchange->lacking().empty());
      CHECK(node.exchange->counters().fetches_failed == 0);
    }
  }
}

TEST_CASE("under load nobody fetches, and nobody takes over from who pushes") {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    CAPTURE(seed);
    KvSimSettings settings;
    settings.seed = seed;
    settings.nodes = 8;
    settings.engines = 16;
    settings.observers = 1 + seed % 2;
    settings.batches_per_turn = 0.5;
    settings.habits = {400, 48, 2000, 0.0};
    settings.limits.log_changes = 16'384;
    KvMeshSim sim(settings);
    sim.run(4s, true, false);
    sim.run(1s, false, false);
    CHECK(sim.violation() == "");
    CHECK(sim.difference() == "");
    for (const auto& node : sim.nodes()) {
      const KvExchangeCounters& counters = node.exchange->counters();
      CHECK(counters.fetches == 0);
      CHECK(counters.takeovers == 0);
    }
  }
}

TEST_CASE("whatever happens: never untrue; healed: alike, and complete where that can be had") {
  for (std::uint64_t seed = first_seed(); seed <= last_seed(150); ++seed) {
    CAPTURE(seed);
    troubled_run(troubled(seed), 8s);
  }
}

TEST_CASE("the same with room for little") {
  for (std::uint64_t seed = first_seed(); seed <= last_seed(50); ++seed) {
    CAPTURE(seed);
    KvSimSettings settings = troubled(seed);
    settings.limits.max_blocks = 100;
    settings.limits.max_stream_blocks = 55;
    troubled_run(settings, 6s);
  }
}

TEST_CASE("a newcomer brings nothing and takes nothing away") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    KvSimSettings settings;
    settings.seed = seed;
    settings.replay = seed % 2 == 0 ? 0 : 50;
    settings.nodes = 4;
    KvMeshSim sim(settings);
    sim.run(1s, false, false);  // so that the first batches are heard
    sim.run(4s, true, false);
    const std::vector<StreamKey> complete = sim.completable();
    CHECK(complete.size() == settings.engines);
    for (std::size_t node = 0; node < 3; ++node) {
      sim.kill(node);
      sim.run(600ms, true, false);
      sim.start(node);
      sim.run(2s, true, false);
    }
    sim.run(2s, false, false);
    CHECK(sim.violation() == "");
    CHECK(sim.difference() == "");
    for (const StreamKey& stream : complete) CHECK(sim.all_complete(stream));
  }
}

TEST_CASE("a life that a newcomer begins late, apart from the others, costs them nothing") {
  for (std::uint64_t seed = first_seed(); seed <= last_seed(60); ++seed) {
    CAPTURE(seed);
    KvSimSettings settings;
    settings.seed = seed;
    settings.replay = 30;
    settings.engines = 6;
    settings.observers = 1 + seed % 2;
    settings.batches_per_turn = 0.8;
    settings.habits.clears = 0.0;
    settings.limits.log_changes = 16'384;
    if (seed % 3 == 0) settings.loss = settings.duplication = 0.1;
    KvMeshSim sim(settings);
    sim.run(500ms, false, false);
    sim.run(2s, true, false);
    sim.isolate(4);
    sim.kill(4);
    sim.run(600ms, true, false);
    sim.start(4);
    sim.run(1s, true, false);
    for (std::size_t engine = 0; engine < settings.engines; ++engine) {
      CHECK(sim.nodes()[0].state->position(sim.key(engine)).complete());
      CHECK_FALSE(sim.nodes()[4].state->position(sim.key(engine)).complete());
    }
    sim.heal();
    for (int i = 0; i < 12; ++i) {
      sim.run(250ms, true, false);
      for (std::size_t engine = 0; engine < settings.engines; ++engine) {
        for (std::size_t node = 0; node < 4; ++node) {
          CHECK(sim.nodes()[node].state->position(sim.key(engine)).base.value == 0);
        }
      }
    }
    sim.run(3s, false, false);
    CHECK(sim.violation() == "");
    CHECK(sim.difference() == "");
    for (std::size_t engine = 0; engine < settings.engines; ++engine) {
      CHECK(sim.nodes()[4].state->position(sim.key(engine)).base.value == 0);
    }
  }
}
