// Whole nodes' knowledge of engines that lose, replay and restart, over a network that does too.
#include "node/kv/kv_core.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "tests/node/kv/kv_core_sim.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

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

CoreSimSettings troubled(std::uint64_t seed) {
  CoreSimSettings settings;
  settings.seed = seed;
  settings.nodes = 2 + seed % 5;
  settings.instances = 1 + seed % 3;
  settings.ranks = 1 + seed % 2;
  settings.observers = seed % 7 == 0 ? kAllObservers : 1 + seed % 3;
  settings.faults = 0.06;
  settings.replay = seed % 4 == 0 ? 0 : seed % 4 == 1 ? 40 : 1'000'000;
  settings.restarts = settings.replay > 1000 || seed % 3 == 0;
  if (seed % 2 == 0) settings.loss = settings.duplication = 0.1;
  if (seed % 3 < 2) settings.live_loss = settings.live_duplication = 0.02;
  if (seed % 6 == 1) settings.replay_loss = 0.1;
  if (seed % 5 == 2) settings.never_reached = 0.4;
  if (seed % 5 == 3) settings.max_message_bytes = 600;
  if (seed % 11 == 0) settings.limits.log_changes = 20;
  settings.changing_instances = seed % 4 == 2;
  settings.silent_restarts = seed % 3 == 0;
  settings.moving_instances = seed % 5 == 1;
  return settings;
}

void troubled_run(const CoreSimSettings& settings, Duration trouble) {
  KvCoreSim sim(settings);
  sim.run(trouble, true, true);
  CHECK(sim.violation() == "");
  sim.heal();
  sim.run(seconds(12), true, false);  // replays that never answer are given up within
  sim.run(seconds(1), false, false);
  for (auto& node : sim.nodes()) {
    if (!node.core || settings.seed % 2 == 0) continue;
    node.core->was_away("engine-0");
    break;
  }
  const std::vector<StreamKey> completable = sim.completable();
  sim.run(seconds(6), false, false);
  CHECK(sim.violation() == "");
  CHECK(sim.difference() == "");
  CHECK(sim.untrue_report() == "");
  for (const StreamKey& stream : completable) {
    CAPTURE(stream.instance);
    CHECK(sim.all_complete(stream));
  }
}

}  // namespace

TEST_CASE("a healthy mesh: every node is exact on every cache") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    CoreSimSettings settings;
    settings.seed = seed;
    settings.nodes = 1 + seed % 5;
    settings.observers = 1 + seed % 2;
    settings.ranks = 2;
    KvCoreSim sim(settings);
    sim.run(seconds(5), true, false);
    sim.run(seconds(1), false, false);
    CHECK(sim.violation() == "");
    CHECK(sim.difference() == "");
    CHECK(sim.untrue_report() == "");
    for (auto& node : sim.nodes()) {
      const auto made = node.core->report(sim.now());
      for (const StreamReport& report : made->streams) {
        CHECK(report.confidence == KvConfidence::exact);
      }
    }
  }
}

TEST_CASE("whatever happens to whole nodes: never untrue; healed: alike and complete") {
  for (std::uint64_t seed = first_seed(); seed <= last_seed(100); ++seed) {
    CAPTURE(seed);
    troubled_run(troubled(seed), seconds(7));
  }
}

TEST_CASE("an engine that restarts and says nothing is known to be empty, by all nodes, exactly") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    CoreSimSettings settings;
    settings.seed = seed;
    settings.nodes = 1 + seed % 5;
    settings.observers = seed % 7 == 0 ? kAllObservers : 1 + seed % 3;
    settings.replay = seed % 2 == 0 ? 1'000'000 : 30;
    if (seed % 3 == 0) settings.loss = settings.duplication = 0.1;
    if (seed % 5 == 0) settings.live_loss = 0.02;
    KvCoreSim sim(settings);
    sim.run(seconds(4), true, false);
    if (seed % 4 == 0) sim.run(seconds(3), false, false);
    for (int again = 0; again < 2; ++again) {
      for (const auto& engine : sim.engines()) sim.restart_silently(engine.first);
      sim.run(seconds(3), true, false);
      CHECK(sim.violation() == "");
      CHECK(sim.difference() == "");
      CHECK(sim.untrue_report() == "");
      for (auto& node : sim.nodes()) {
        const auto all = node.core->report(sim.now());
        for (const StreamReport& report : all->streams) {
          CHECK(report.confidence == KvConfidence::exact);
          CHECK(report.present == 0);
        }
      }
      if (again > 0) break;
      for (auto& engine : sim.engines()) engine.second.silent = false;
      sim.run(seconds(3), true, false);
    }
  }
}

TEST_CASE("whole nodes with room for little keep to it") {
  for (std::uint64_t seed = first_seed(); seed <= last_seed(30); ++seed) {
    CAPTURE(seed);
    CoreSimSettings settings = troubled(seed);
    settings.limits.max_blocks = 40;
    settings.limits.max_stream_blocks = 22;
    troubled_run(settings, seconds(5));
  }
}

TEST_CASE("a newcomer is ready only with what the others held when it came") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    CoreSimSettings settings;
    settings.seed = seed;
    settings.nodes = 4;
    settings.replay = seed % 2 == 0 ? 0 : 30;
    if (seed % 3 == 0) settings.max_message_bytes = 600;
    if (seed % 4 == 1) settings.loss = 0.1;
    KvCoreSim sim(settings);
    sim.run(milliseconds(500), false, false);  // all listen from the first batch on
    sim.run(seconds(4), true, false);
    for (std::size_t number = 0; number < 3; ++number) {
      sim.kill(number);
      sim.run(milliseconds(600), true, false);
      std::vector<StreamKey> held;
      for (const auto& engine : sim.engines()) {
        if (sim.nodes()[3].core->state().position(engine.first).complete()) {
          held.push_back(engine.first);
        }
      }
      CHECK(held.size() == settings.instances);
      sim.start(number);
      // The mesh asks it once it knows members and instances.
      sim.run(milliseconds(220), true, false);
      auto& node = sim.nodes()[number];
      for (int i = 0; i < 250 && !node.core->readiness(sim.now()).ready; ++i) {
        sim.run(KvCoreSim::kTurn, true, false);
      }
      CHECK(node.core->readiness(sim.now()).ready);
      CHECK(node.core->readiness(sim.now()).without.empty());
      // Without replay the first batch heard may be ahead of what the others have passed on.
      if (settings.replay == 0) sim.run(seconds(2), true, false);
      for (const StreamKey& stream : held) {
        const StreamPosition at = node.core->state().position(stream);
        CAPTURE(at.epoch.value);
        CAPTURE(at.base.value);
        CAPTURE(at.end.value);
        CAPTURE(at.unknown);
        CHECK(at.complete());
      }
      sim.run(seconds(2), true, false);
    }
    CHECK(sim.violation() == "");
  }
}

TEST_CASE("who joins after an instance was away believes it no more than the others") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    CoreSimSettings settings;
    settings.seed = seed;
    if (seed % 3 == 0) settings.loss = 0.1;
    KvCoreSim sim(settings);
    sim.run(milliseconds(500), false, false);  // all listen from the first batch on
    sim.kill(0);
    sim.run(seconds(4), true, false);
    sim.run(seconds(1), false, false);
    sim.nodes()[1].core->was_away("engine-0");
    sim.run(seconds(3), false, false);
    sim.start(0);
    sim.run(seconds(4), false, false);
    CHECK(sim.difference() == "");
    for (auto& node : sim.nodes()) {
      const auto all = node.core->report(sim.now());
      CHECK(all->streams.at(0).confidence == KvConfidence::unknown);
      CHECK(all->streams.at(1).confidence == KvConfidence::exact);
    }
    sim.run(seconds(1), true, false);
    sim.run(seconds(3), false, false);
    CHECK(sim.untrue_report() == "");
  }
}

TEST_CASE("who tries again to reach an engine does not take the place of those who do") {
  CoreSimSettings settings;
  settings.instances = 4;
  settings.observers = 1;
  KvCoreSim sim(settings);
  for (const auto& engine : sim.engines()) {
    for (std::size_t number = 0; number < 2; ++number) sim.cut_off(number, engine.first);
  }
  sim.run(seconds(10), true, false);  // one after the other has given up
  for (int i = 0; i < 100; ++i) {
    sim.run(milliseconds(200), true, false);
    for (const auto& engine : sim.engines()) {
      const StreamPosition at = sim.nodes()[2].core->state().position(engine.first);
      CHECK(at.end.value + 20 > engine.second.end());
    }
  }
}

TEST_CASE("a block said without tokens counts, known or not: equal bounds, equal blocks") {
  EngineBatch batch;
  EngineEvent event;
  event.hashes = 1;
  batch.events.push_back(event);
  batch.hashes.push_back(5);
  KvTranslator translator;
  std::vector<BlockChange> changes;
  translator.translate(batch, nullptr, changes);
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].kind == BlockMap::Kind::add);
  CHECK_FALSE(changes[0].value.known());
}

TEST_CASE("of an instance at another address nothing is known, and nobody brings the old back") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    CoreSimSettings settings;
    settings.seed = seed;
    settings.instances = 1;
    settings.replay = seed % 2 == 0 ? 1000 : 0;
    settings.moving_instances = true;
    KvCoreSim sim(settings);
    sim.run(milliseconds(500), false, false);
    sim.run(seconds(2), true, false);
    sim.run(seconds(1), false, false);
    CHECK(sim.untrue_report() == "");
    sim.engines().begin()->second.silent = true;
    sim.move_instance(0);
    sim.run(seconds(3), true, false);
    CHECK(sim.difference() == "");
    for (auto& node : sim.nodes()) {
      const auto report = node.core->report(sim.now());
      CHECK(report->streams.at(0).confidence == KvConfidence::unknown);
      CHECK(report->streams.at(0).present == 0);
    }
    sim.engines().begin()->second.silent = false;
    sim.run(seconds(2), true, false);
    sim.run(seconds(1), false, false);
    CHECK(sim.violation() == "");
    CHECK(sim.difference() == "");
    CHECK(sim.untrue_report() == "");
  }
}
