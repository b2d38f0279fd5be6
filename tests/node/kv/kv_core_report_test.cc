// What a node says to people of endpoints that are wrong, and of what it cannot know yet.
#include <doctest/doctest.h>

#include <algorithm>

#include "node/kv/kv_core.h"
#include "tests/node/kv/kv_stream_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

namespace {

struct Silent final : KvSource {
  void subscribe(const StreamKey&, const KvEndpoints&) override {}
  void unsubscribe(const StreamKey&) override {}
  void ask_replay(const StreamKey&, std::uint64_t) override { ++asked; }
  void reconnect(const StreamKey&) override { ++reconnects; }
  std::string trouble(const StreamKey&) const override { return why; }
  int asked = 0, reconnects = 0;
  std::string why;
};

// One node alone, and one instance e.
struct Scene {
  explicit Scene(KvEndpoints endpoints, std::uint64_t id = 7,
                 const std::vector<KvPeerLife>& others = {})
      : core(settings(id), source) {
    core.set_peers(others, now);
    core.mesh_met();
    core.set_instances({{"e", std::move(endpoints)}}, now);
    pass(Duration{0});
  }
  static KvCoreSettings settings(std::uint64_t id) {
    KvCoreSettings settings;
    settings.self = crdt::NodeId{id};
    settings.exchange.observers = 1;
    return settings;
  }
  void pass(Duration time) {
    for (const Time end = now + time; now < end;) {
      now += milliseconds(20);
      core.tick(now);
    }
    core.tick(now);
  }
  static RawBatch batch(std::uint64_t sequence, char rank = '\xc0') {
    std::string payload = batch_payload(1.7e9 + 0.5 * static_cast<double>(sequence));
    payload.back() = rank;
    return {sequence, payload};
  }
  void replay(std::uint64_t from, std::uint64_t end) {
    for (; from < end; ++from) core.replayed(key, batch(from), now);
    core.replay_over(key, now);
  }
  // Looks, as often as they are made, are answered with so many new batches each; where the
  // subscription is to be made anew, it is.
  void looks(std::uint64_t& end, std::uint64_t each, Duration time) {
    int seen = source.asked, reconnects = source.reconnects;
    for (const Time stop = now + time; now < stop;) {
      pass(milliseconds(100));
      if (source.asked == std::exchange(seen, source.asked)) continue;
      replay(end - 1, end + each);
      end += each;
      if (source.reconnects == std::exchange(reconnects, source.reconnects)) continue;
      if (connects_anew) core.connected(key, now);
    }
  }
  StreamReport report() { return core.report(now)->streams.front(); }
  bool says(const std::string& part) {
    const auto remarks = report().remarks;
    return std::ranges::any_of(
        remarks, [&](const std::string& remark) { return remark.find(part) != std::string::npos; });
  }

  const StreamKey key{"e", 0};
  Time now{seconds(1000)};
  bool connects_anew = true;
  Silent source;
  KvCore core;
};

const KvEndpoints kBoth{"tcp://h:5557", "tcp://h:6557", "", 1};
const KvPeerLife kSeventh{crdt::NodeId{7}, crdt::Epoch{1}},
    kEighth{crdt::NodeId{8}, crdt::Epoch{1}};

// Time passes at both nodes, and they tell each other what they have.
void talk(Scene& seven, Scene& eight, Duration time) {
  for (const Time end = seven.now + time; seven.now < end;) {
    seven.pass(milliseconds(20));
    eight.pass(milliseconds(20));
    const auto to_eight = seven.core.take(crdt::NodeId{8}, seven.now);
    const auto to_seven = eight.core.take(crdt::NodeId{7}, eight.now);
    if (!to_eight.empty()) eight.core.received(crdt::NodeId{7}, to_eight, eight.now);
    if (!to_seven.empty()) seven.core.received(crdt::NodeId{8}, to_seven, seven.now);
  }
}

}  // namespace

TEST_CASE("the endpoints of each rank are told") {
  Scene scene({"tcp://h:5557", "tcp://h:6557", "kv", 3});
  const auto report = scene.core.report(scene.now);
  REQUIRE(report->streams.size() == 3);
  CHECK(report->streams[2].events == "tcp://h:5559");
  CHECK(report->streams[2].replay == "tcp://h:6559");
  CHECK(report->streams[2].topic == "kv");
  CHECK(Scene({"ipc:///s", "", "", 1}).report().replay.empty());
}

TEST_CASE("where nothing answers, it is told for how long") {
  Scene scene(kBoth);
  CHECK(scene.report().remarks.empty());
  scene.pass(seconds(12));
  CHECK(scene.says("nothing connected at tcp://h:5557 for 12 s"));
  scene.pass(seconds(88));
  CHECK(scene.says("nothing connected at tcp://h:5557 for 100 s"));
  scene.core.connected(scene.key, scene.now);
  CHECK_FALSE(scene.says("nothing connected"));
}

TEST_CASE("what answers and is no publisher is told as that") {
  Scene scene(kBoth);
  scene.source.why = "what answers there is no publisher of events";
  scene.pass(seconds(20));
  CHECK(
      scene.says("not connected to tcp://h:5557 for 20 s, what answers there is no publisher of "
                 "events: are events= and replay= swapped, or a port wrong?"));
}

TEST_CASE("a replay endpoint that does not answer is told, and events alone can make it exact") {
  Scene scene(kBoth);
  scene.core.connected(scene.key, scene.now);
  CHECK(scene.report().remarks.empty());
  scene.pass(seconds(5));
  CHECK(
      scene.says("no answer of the replay endpoint tcp://h:6557 for 5 s: a gap cannot be filled"));
  scene.pass(seconds(6));
  scene.core.live(scene.key, Scene::batch(0), scene.now);
  CHECK(scene.says("no answer of the replay endpoint tcp://h:6557 (1 of 2 questions)"));
}

TEST_CASE("a subscription that brings nothing while replay does is told, and is not exact") {
  for (const std::string topic : {"", "kv"}) {
    KvEndpoints endpoints = kBoth;
    endpoints.topic = topic;
    Scene scene(endpoints);
    scene.core.connected(scene.key, scene.now);
    scene.replay(0, 4);
    std::uint64_t end = 4;
    scene.looks(end, 2, seconds(8));
    StreamReport report = scene.report();
    CHECK(report.confidence == KvConfidence::degraded);
    CHECK(report.why_not_exact.find("the subscription brings nothing") != std::string::npos);
    CHECK(report.position.end.value == end);
    const std::string doubt = topic.empty() ? "is replay= another engine's?" : "is topic=kv right?";
    CHECK(scene.says("no batch comes by subscription, while the replay has brought"));
    CHECK(scene.says(doubt));
    CHECK(scene.source.reconnects > 0);
    scene.core.connected(scene.key, scene.now);
    scene.replay(end - 1, end);
    scene.core.live(scene.key, Scene::batch(end), scene.now);
    scene.pass(milliseconds(20));
    CHECK_FALSE(scene.says("subscription"));
    CHECK(scene.report().why_not_exact == "no block stored yet");
  }
}

TEST_CASE("that the subscription brings nothing is known to nodes that do not subscribe") {
  KvEndpoints endpoints = kBoth;
  endpoints.topic = "kv";
  Scene seven(endpoints, 7, {kEighth}), eight(endpoints, 8, {kSeventh});
  talk(seven, eight, seconds(2));
  Scene& observer = seven.report().observing ? seven : eight;
  Scene& other = seven.report().observing ? eight : seven;
  REQUIRE(observer.report().observing);
  REQUIRE_FALSE(other.report().observing);
  observer.core.connected(observer.key, observer.now);
  observer.replay(0, 4);
  talk(seven, eight, milliseconds(200));
  CHECK(other.report().why_not_exact == "no block stored yet");
  std::uint64_t end = 4;
  observer.looks(end, 2, seconds(8));
  other.pass(seconds(8));
  talk(seven, eight, seconds(1));
  CHECK(observer.report().why_not_exact.find("the subscription brings nothing") < 10);
  CHECK(other.report().why_not_exact.find("the subscription brings nothing") < 10);
  CHECK(other.report().position.end.value == end);
  observer.core.connected(observer.key, observer.now);
  observer.replay(end - 1, end);
  observer.core.live(observer.key, Scene::batch(end), observer.now);
  talk(seven, eight, seconds(1));
  CHECK(observer.report().why_not_exact == "no block stored yet");
  CHECK(other.report().why_not_exact == "no block stored yet");
}

TEST_CASE("a topic of which nothing comes is doubted, none is not") {
  for (const std::string topic : {"", "kv"}) {
    Scene scene({"tcp://h:5557", "", topic, 1});
    scene.core.connected(scene.key, scene.now);
    scene.pass(seconds(4));
    CHECK(scene.report().remarks.empty());
    scene.pass(seconds(2));
    CHECK(scene.report().remarks.size() == topic.size() / 2);
    CHECK(scene.says("connected to tcp://h:5557 for 6 s, and no batch of its topic has come: is "
                     "topic=kv right?") == !topic.empty());
    scene.core.live(scene.key, Scene::batch(0), scene.now);
    CHECK(scene.report().remarks.empty());
  }
}

TEST_CASE("an engine that is known and idle is not doubted, whatever its topic") {
  for (const std::string replay : {"", "tcp://h:6557"}) {
    const KvEndpoints endpoints{"tcp://h:5557", replay, "kv", 1};
    Scene seven(endpoints), eight(endpoints, 8, {kSeventh});
    seven.core.connected(seven.key, seven.now);
    seven.core.live(seven.key, Scene::batch(0), seven.now);
    seven.replay(0, 1);
    REQUIRE(seven.report().position.end.value == 1);
    seven.core.set_peers({kEighth}, seven.now);
    talk(seven, eight, seconds(2));
    REQUIRE(eight.report().position.end.value == 1);
    // The other is left, subscribes, and hears what it knows already.
    eight.core.set_peers({}, eight.now);
    eight.pass(milliseconds(20));
    eight.core.connected(eight.key, eight.now);
    int answered = 0;
    for (int i = 0; i < 100; ++i) {
      if (eight.source.asked > std::exchange(answered, eight.source.asked)) eight.replay(0, 1);
      eight.pass(milliseconds(100));
    }
    REQUIRE(eight.report().connected);
    REQUIRE(eight.report().received.live == 0);
    CHECK(eight.report().remarks.empty());
  }
}

TEST_CASE("a subscription that brings nothing is not called connected while it is not") {
  Scene scene(kBoth);
  scene.core.connected(scene.key, scene.now);
  scene.replay(0, 4);
  std::uint64_t end = 4;
  scene.connects_anew = false;
  scene.looks(end, 2, seconds(8));
  REQUIRE(scene.source.reconnects > 0);
  REQUIRE_FALSE(scene.report().connected);
  CHECK_FALSE(scene.says("connected to"));
  CHECK(scene.says("connecting anew to tcp://h:5557, as no batch comes by subscription"));
  scene.core.connected(scene.key, scene.now);
  CHECK(scene.says("connected to tcp://h:5557, but no batch comes by subscription"));
}

TEST_CASE("what is no batch is told") {
  Scene scene(kBoth);
  scene.core.connected(scene.key, scene.now);
  scene.replay(0, 0);
  scene.core.live(scene.key, {kNoSequence, ""}, scene.now);
  CHECK(scene.says("tcp://h:5557 sends what is no batch of KV events"));
}

TEST_CASE("batches of another data-parallel rank are told") {
  for (const std::uint32_t ranks : {1u, 2u}) {
    KvEndpoints endpoints = kBoth;
    endpoints.ranks = ranks;
    Scene scene(endpoints);
    scene.core.connected(scene.key, scene.now);
    scene.core.replayed(scene.key, Scene::batch(0, '\x00'), scene.now);
    scene.core.replay_over(scene.key, scene.now);
    CHECK(scene.report().remarks.empty());
    scene.core.live(scene.key, Scene::batch(1, '\x03'), scene.now);
    CHECK(scene.says("the batches of tcp://h:5557 are of data-parallel rank 3"));
    CHECK(scene.says("ranks=N") == (ranks == 1));
  }
}

TEST_CASE("rates are told once they have been measured, not of what was there before") {
  Scene scene(kBoth);
  scene.pass(milliseconds(500));
  scene.core.connected(scene.key, scene.now);
  for (std::uint64_t i = 0; i < 100; ++i)
    scene.core.replayed(scene.key, Scene::batch(i), scene.now);
  scene.core.replay_over(scene.key, scene.now);
  CHECK_FALSE(scene.report().rates_known);
  scene.pass(milliseconds(700));  // the counters are read, and once is not enough
  CHECK_FALSE(scene.report().rates_known);
  CHECK(scene.report().bytes_per_s == 0.0);
  scene.pass(seconds(1));
  CHECK(scene.report().rates_known);
  CHECK(scene.report().bytes_per_s == 0.0);
  scene.core.live(scene.key, Scene::batch(100), scene.now);
  scene.pass(seconds(1));
  CHECK(scene.report().bytes_per_s > 0.0);
}
