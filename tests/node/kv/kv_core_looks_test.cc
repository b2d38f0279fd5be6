// What nodes say of an engine whose subscription or replay is of no use.
#include <doctest/doctest.h>

#include <utility>

#include "node/kv/kv_core.h"
#include "tests/node/kv/kv_model_engine.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;
using policies::Duration;
using policies::Time;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

const StreamKey kLooked{"engine", 0};

struct CountingSource final : KvSource {
  void subscribe(const StreamKey&, const KvEndpoints&) override {}
  void unsubscribe(const StreamKey&) override {}
  void ask_replay(const StreamKey&, std::uint64_t) override { ++asked; }
  void reconnect(const StreamKey&) override { ++reconnects; }
  int asked = 0, reconnects = 0;
};

// One of two nodes, of which one observes.
struct OfTwo {
  OfTwo(std::uint64_t id, std::uint64_t peer) : other{peer}, core(settings(id), source) {
    core.set_peers({{other, {1}, "other"}}, now);
    core.mesh_met();
    KvCore::Instance instance{kLooked.instance, {}};
    instance.endpoints.events = "tcp://engine:5557";
    instance.endpoints.replay = "tcp://engine:5558";
    core.set_instances({instance}, now);
  }
  static KvCoreSettings settings(std::uint64_t id) {
    KvCoreSettings settings;
    settings.self = crdt::NodeId{id};
    settings.exchange.observers = 1;
    return settings;
  }
  StreamReport report() { return core.report(now)->streams.at(0); }
  void tell(OfTwo& peer) {
    const std::string message = core.take(other, now);
    if (!message.empty()) peer.core.received(peer.other, message, now);
  }

  crdt::NodeId other;
  Time now{seconds(1000)};
  CountingSource source;
  KvCore core;
};

struct Pair {
  void pass(Duration time) {
    for (const Time end = seven.now + time; seven.now < end;) {
      seven.now = eight.now = seven.now + milliseconds(20);
      seven.core.tick(seven.now);
      eight.core.tick(eight.now);
      seven.tell(eight);
      eight.tell(seven);
    }
  }
  OfTwo seven{7, 8}, eight{8, 7};
};

}  // namespace

TEST_CASE("a replay endpoint that does not answer holds nothing back for more than a second") {
  Pair pair;
  KvModelEngine engine{3, 1'000'000, 1.7e9};
  pair.pass(seconds(2));
  const bool seven = pair.seven.report().observing;
  OfTwo& observer = seven ? pair.seven : pair.eight;
  OfTwo& other = seven ? pair.eight : pair.seven;
  REQUIRE(observer.report().observing);
  REQUIRE_FALSE(other.report().observing);
  observer.core.connected(kLooked, observer.now);
  pair.pass(milliseconds(10300));  // nobody answers
  const auto publish = [&](int batches) {
    for (; batches > 0; --batches) observer.core.live(kLooked, engine.publish(), observer.now);
  };
  publish(50);
  for (int pause = 0; pause < 5; ++pause) {
    pair.pass(milliseconds(2300));  // so long that it is looked whether all has been heard
    publish(20);
    pair.pass(milliseconds(1500));
    CHECK(observer.report().position.end.value == engine.end());
    CHECK(other.report().position.end.value == engine.end());
    CHECK(observer.report().confidence == KvConfidence::exact);
    CHECK(other.report().confidence == KvConfidence::exact);
  }
}

TEST_CASE("a subscription made anew that does not connect is not taken for one that does") {
  CountingSource source;
  KvCore core({.self = crdt::NodeId{1}}, source);
  KvModelEngine engine{3, 1'000'000, 1.7e9};
  KvCore::Instance instance{kLooked.instance, {}};
  instance.endpoints.events = "tcp://engine:5557";
  instance.endpoints.replay = "tcp://engine:5558";
  Time now = seconds(1000);
  core.mesh_met();
  core.set_instances({instance}, now);
  const auto replay = [&](std::uint64_t from) {
    for (; from < engine.end(); ++from) core.replayed(kLooked, engine.life().batches[from], now);
    core.replay_over(kLooked, now);
  };
  const auto pass = [&](Duration time) {
    for (const Time end = now + time; now < end;) {
      now += milliseconds(100);
      core.tick(now);
    }
  };
  core.connected(kLooked, now);
  for (int i = 0; i < 50; ++i) engine.publish();
  replay(0);
  // Batches come, and not by subscription; each look finds one.
  for (int seen = source.asked; source.reconnects == 0 && now < seconds(1100);) {
    pass(milliseconds(100));
    if (source.asked == std::exchange(seen, source.asked)) continue;
    engine.publish();
    replay(engine.end() - 2);
  }
  REQUIRE(source.reconnects == 1);
  CHECK(core.exchange().reached(kLooked));
  pass(seconds(60));
  const StreamReport report = core.report(now)->streams.at(0);
  CHECK(report.confidence != KvConfidence::exact);
  CHECK_FALSE(core.exchange().reached(kLooked));
  CHECK(report.remarks.size() >= 1);
}
