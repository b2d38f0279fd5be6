// One node's knowledge of one engine, told by hand.
#include <doctest/doctest.h>

#include "node/kv/kv_codec.h"
#include "node/kv/kv_core.h"
#include "tests/node/kv/kv_model_engine.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;
using policies::Time;
using std::chrono::seconds;

namespace {

struct IdleSource final : KvSource {
  void subscribe(const StreamKey&, const KvEndpoints&) override {}
  void unsubscribe(const StreamKey&) override {}
  void ask_replay(const StreamKey&, std::uint64_t) override {}
  void reconnect(const StreamKey&) override {}
};

const StreamKey kStream{"engine", 0};
constexpr std::uint64_t kHour_us = 3'600'000'000;
constexpr crdt::NodeId kSelf{1}, kPeer{2};

struct Alone {
  // `replay`: where; empty: nowhere.
  explicit Alone(const std::string& replay = "") : core(settings(), source) {
    at("tcp://engine:5557", seconds(1), replay);
  }
  KvCoreSettings settings() {
    KvCoreSettings made{.self = kSelf};
    made.exchange.wall_us = [this] { return wall_us; };
    return made;
  }
  void at(const std::string& events, Time now, const std::string& replay = "") {
    KvCore::Instance instance{kStream.instance, {}};
    instance.endpoints.events = events;
    instance.endpoints.replay = replay;
    core.set_instances({instance}, now);
  }
  void publish(int batches, Time now) {
    for (; batches > 0; --batches) core.live(kStream, engine.publish(), now);
  }
  StreamReport report(Time now) { return core.report(now)->streams.at(0); }
  KvConfidence confidence(Time now) {
    core.tick(now);
    return report(now).confidence;
  }
  StreamName name() const { return name_of(kStream, core.state().source(kStream)); }
  void peer_says(crdt::Epoch epoch, std::uint64_t end) {
    core.set_peers({{kPeer, {1}, "peer"}}, seconds(2));
    KvHead head{.stream = name(), .position = {.epoch = epoch, .end = {end}}};
    std::string message;
    write_section(KvHeads{.heads = {head}}, message);
    core.received(kPeer, message, seconds(2));
  }
  StreamPosition position() const { return core.state().position(kStream); }

  std::uint64_t wall_us = 1'700'000'000'000'000 + kHour_us;
  IdleSource source;
  KvCore core;
  KvModelEngine engine{3, 1'000'000, 1.7e9};
};

// Of which everything has been heard from the beginning.
struct Heard : Alone {
  explicit Heard(const std::string& replay = "") : Alone(replay) {
    core.mesh_met();
    core.connected(kStream, seconds(1));
    if (!replay.empty()) core.replay_over(kStream, seconds(1));
    publish(1, seconds(1));
    if (!replay.empty()) {  // it is tried with the first batch
      core.replayed(kStream, engine.life().batches[0], seconds(1));
      core.replay_over(kStream, seconds(1));
    }
    publish(49, seconds(1));
  }
};

}  // namespace

TEST_CASE("an instance at another address may be reached there") {
  Alone alone;
  alone.core.tick(seconds(1));
  alone.core.tick(seconds(5));
  CHECK_FALSE(alone.core.exchange().reached(kStream));
  alone.at("tcp://right:5557", seconds(6));
  CHECK(alone.core.exchange().reached(kStream));
}

TEST_CASE("before the mesh has been met no history is begun where one may be known") {
  Alone alone;
  for (int i = 0; i < 20; ++i) alone.engine.publish();
  alone.core.connected(kStream, seconds(1));
  alone.publish(3, seconds(1));
  alone.core.tick(seconds(2));
  CHECK(alone.position().epoch.value == 0);
  alone.core.mesh_met();  // and nobody else is there
  alone.core.tick(seconds(3));
  CHECK(alone.position().epoch.value != 0);
  CHECK(alone.position().base.value == 20);
  CHECK(alone.position().end.value == 23);
}

TEST_CASE("an instance that was away is not believed until its engine speaks again") {
  Heard heard;
  CHECK(heard.confidence(seconds(9)) == KvConfidence::exact);
  heard.core.was_away("another");
  CHECK(heard.confidence(seconds(9)) == KvConfidence::exact);
  heard.core.was_away(kStream.instance);
  CHECK(heard.confidence(seconds(9)) == KvConfidence::unknown);
  heard.publish(1, seconds(10));
  CHECK(heard.confidence(seconds(10)) == KvConfidence::exact);
}

TEST_CASE("what the engine has said since it was missed is not doubted at its return") {
  Heard heard;
  heard.core.missed(kStream.instance, seconds(9));
  SUBCASE("our path alone was cut: the engine went on") { heard.publish(3, seconds(11)); }
  SUBCASE("another engine came, and has spoken before it answers here") {
    heard.core.disconnected(kStream, seconds(10));
    heard.core.connected(kStream, seconds(10));
    heard.engine.restart();
    heard.publish(5, seconds(10));
  }
  CHECK(heard.confidence(seconds(13)) == KvConfidence::exact);
  heard.core.was_away(kStream.instance);
  CHECK(heard.confidence(seconds(13)) == KvConfidence::exact);
  heard.core.was_away(kStream.instance);  // and once more, without having been missed
  CHECK(heard.confidence(seconds(13)) == KvConfidence::unknown);
}

TEST_CASE("what the engine said before it was missed is doubted, though it was under way then") {
  Heard heard;
  SUBCASE("on its way from the engine") {
    heard.core.missed(kStream.instance, seconds(9));
    heard.publish(5, seconds(9));
    CHECK(heard.confidence(seconds(10)) == KvConfidence::exact);
    heard.core.was_away(kStream.instance);
  }
  SUBCASE("another node has it already") {
    heard.peer_says(heard.position().epoch, 55);
    heard.core.missed(kStream.instance, seconds(9));
    CHECK(heard.confidence(seconds(11)) == KvConfidence::exact);
    heard.core.was_away(kStream.instance);
    CHECK(heard.confidence(seconds(12)) == KvConfidence::unknown);
    heard.publish(5, seconds(12));
  }
  CHECK(heard.confidence(seconds(12)) == KvConfidence::unknown);
  CHECK(heard.position().away.value == 55);
  heard.publish(1, seconds(13));
  CHECK(heard.confidence(seconds(13)) == KvConfidence::exact);
}

TEST_CASE("of a life that only others know the doubt waits until it is known here") {
  Alone alone;
  const crdt::Epoch life{1'700'000'000'000'000};
  alone.peer_says(life, 50);
  alone.core.was_away(kStream.instance);
  CHECK(alone.position() == StreamPosition{});
  KvChanges changes{.stream = {{alone.name(), life}}, .steps = {{{50}, 7, 0}}};
  std::string message;
  write_section(changes, message);
  alone.core.received(kPeer, message, seconds(3));
  CHECK(alone.position().end.value == 50);
  CHECK(alone.position().away.value == 50);
}

TEST_CASE("of a life that no engine can have begun yet nothing is believed, and none is named so") {
  Heard heard;
  const crdt::Epoch life = heard.position().epoch;
  heard.peer_says({std::uint64_t{1} << 53}, 0);
  heard.peer_says({heard.wall_us + 25 * kHour_us}, 0);
  heard.peer_says({heard.wall_us + 25 * kHour_us}, 70);
  CHECK(heard.core.exchange().counters().absurd == 3);
  CHECK(heard.position().epoch == life);
  CHECK(heard.confidence(seconds(9)) == KvConfidence::exact);
  heard.wall_us += 2 * kHour_us;
  heard.peer_says({heard.wall_us + 23 * kHour_us}, 0);
  CHECK(heard.position().epoch.value == heard.wall_us + 23 * kHour_us);
}

TEST_CASE("an engine whose clock is far ahead names no life by it") {
  for (const std::uint64_t ahead : {11, 13}) {
    Alone alone;
    alone.wall_us -= (1 + ahead) * kHour_us;
    alone.core.mesh_met();
    alone.core.connected(kStream, seconds(1));
    alone.publish(5, seconds(1));
    CHECK(alone.position().end.value == 5);
    CHECK((alone.position().epoch.value == 1) == (ahead == 13));
    alone.core.disconnected(kStream, seconds(2));
    alone.core.connected(kStream, seconds(2));
    alone.engine.restart();
    alone.publish(3, seconds(3));
    CHECK(alone.position().end.value == 3);
    CHECK((alone.position().epoch.value == 2) == (ahead == 13));
  }
}

TEST_CASE("a subscription whose place is not settled is no longer exact") {
  Heard heard;
  CHECK(heard.confidence(seconds(9)) == KvConfidence::exact);
  heard.core.disconnected(kStream, seconds(10));
  heard.core.connected(kStream, seconds(11));
  CHECK(heard.confidence(seconds(11)) == KvConfidence::exact);
  CHECK(heard.confidence(seconds(14)) == KvConfidence::degraded);
  heard.publish(1, seconds(15));
  CHECK(heard.confidence(seconds(15)) == KvConfidence::exact);
}

TEST_CASE("a life that gets another name goes on with the next batch, and stays in doubt") {
  Heard heard;
  heard.core.set_peers({{kPeer, {1}, "peer"}}, seconds(2));
  heard.core.tick(seconds(2));
  heard.core.was_away(kStream.instance);
  const StreamPosition before = heard.position();
  KvHead head{.position = before};
  head.stream = name_of(kStream, heard.core.state().source(kStream));
  head.position.epoch.value += 7;
  head.position.away = {};
  std::string message;
  write_section(KvHeads{.heads = {head}}, message);
  heard.core.received(kPeer, message, seconds(3));
  CHECK(heard.position().epoch == head.position.epoch);
  CHECK(heard.report(seconds(3)).confidence == KvConfidence::unknown);
  heard.publish(1, seconds(3));  // before anything else happens
  CHECK(heard.position().epoch == head.position.epoch);
  CHECK(heard.position().base.value == 0);
  CHECK(heard.position().end.value == before.end.value + 1);
  CHECK(heard.report(seconds(3)).confidence == KvConfidence::exact);
}

TEST_CASE("all that a cache held is gone from when a replay has shown its life to be empty") {
  Heard heard("tcp://engine:5558");
  CHECK(heard.core.state().present(kStream) > 0);
  heard.core.disconnected(kStream, seconds(20));  // another engine comes in its place
  heard.core.connected(kStream, seconds(21));
  heard.core.replay_over(kStream, seconds(22));
  heard.core.replay_over(kStream, seconds(23));  // nothing from 0 on, either
  CHECK(heard.position().end.value == 0);
  const auto cache = heard.core.state().cache_of(kStream);
  REQUIRE(cache);
  const auto& removals = heard.core.state().removals();
  CHECK(removals.removed_at(policies::RemovalMarks::kAll, *cache) == seconds(23));
}
