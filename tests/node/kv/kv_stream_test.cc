// KvStream, rule by rule.
#include "node/kv/kv_stream.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/node/kv/kv_stream_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

namespace {

constexpr double kFirst_s = 1.7e9;
constexpr std::uint64_t kFirst_us = 1'700'000'000'000'000;

RawBatch batch(std::uint64_t sequence, double life_s = kFirst_s) {
  return {sequence, batch_payload(life_s + 0.5 * static_cast<double>(sequence))};
}

StreamPosition position(std::uint64_t epoch, std::uint64_t end, std::uint64_t last_batch) {
  StreamPosition position;
  position.epoch = crdt::Epoch{epoch};
  position.end = crdt::Version{end};
  position.last_batch = last_batch;
  return position;
}

std::uint64_t digest(const RawBatch& batch) { return batch_digest(batch.sequence, batch.payload); }

// A machine, what it asked for last, and all it delivered.
struct Played {
  explicit Played(bool has_replay, StreamSettings settings = {})
      : machine((settings.has_replay = has_replay, settings)) {}
  KvStream machine;
  Time now = seconds(100);
  std::vector<StreamWants::Deliver> delivered;
  std::optional<std::uint64_t> asked;
  bool reconnect = false;

  void take(StreamWants& wants) {
    for (auto& one : wants.deliver) delivered.push_back(std::move(one));
    asked = wants.replay_from;
    reconnect = wants.reconnect;
  }
  void connected() {
    StreamWants wants;
    machine.connected(now, wants);
    take(wants);
  }
  void told(const StreamPosition& mesh) {
    StreamWants wants;
    machine.mesh_known(mesh, wants);
    take(wants);
  }
  void live(RawBatch batch) {
    StreamWants wants;
    machine.live(std::move(batch), now, wants);
    take(wants);
  }
  void replayed(RawBatch batch) {
    StreamWants wants;
    machine.replayed(std::move(batch), now, wants);
    take(wants);
  }
  void over() {
    StreamWants wants;
    machine.replay_over(now, wants);
    take(wants);
  }
  void pass(Duration time) {
    now += time;
    StreamWants wants;
    machine.tick(now, wants);
    take(wants);
  }
  std::vector<std::uint64_t> sequences() const {
    std::vector<std::uint64_t> all;
    for (const auto& one : delivered) all.push_back(one.batch.sequence);
    return all;
  }
  std::uint64_t epoch() const { return delivered.empty() ? 0 : delivered.back().epoch.value; }
};

using Sequences = std::vector<std::uint64_t>;

// Up to and with batch 2, of a stream nobody knew.
Played begun(StreamSettings settings = {}) {
  Played played(true, settings);
  played.connected();
  for (int i = 0; i < 3; ++i) played.replayed(batch(i));
  played.over();
  return played;
}

}  // namespace

TEST_CASE("an unknown stream is replayed from 0, and live batches wait") {
  Played played(true);
  played.connected();
  CHECK(played.asked == 0);
  CHECK_FALSE(played.machine.caught_up());
  played.live(batch(2));
  played.live(batch(3));
  CHECK(played.delivered.empty());
  for (int i = 0; i < 3; ++i) played.replayed(batch(i));
  CHECK(played.sequences() == Sequences{0, 1, 2});
  played.over();
  CHECK(played.sequences() == Sequences{0, 1, 2, 3});
  CHECK(played.epoch() == kFirst_us);
  CHECK(played.machine.caught_up());
  CHECK(played.machine.counters().duplicates == 1);
}

TEST_CASE("a stream without its beginning waits for the mesh, which says where to go on") {
  Played played(true);
  played.connected();
  played.replayed(batch(50));
  played.over();
  CHECK(played.delivered.empty());
  SUBCASE("nobody knows it: the first batch names the life") {
    played.told({});
    CHECK(played.asked == 0);
    played.replayed(batch(50));
    CHECK(played.epoch() == kFirst_us + 25'000'000);
    CHECK(played.delivered[0].from.value == 50);
  }
  SUBCASE("somebody knows it") {
    played.told(position(77, 52, digest(batch(51))));
    CHECK(played.asked == 51);
    played.replayed(batch(51));
    played.replayed(batch(52));
    CHECK(played.sequences() == Sequences{52});
    CHECK(played.epoch() == 77);
  }
}

TEST_CASE("what the mesh remembers of the last batch decides which life it is") {
  for (const bool with_digest : {true, false}) {
    CAPTURE(with_digest);
    Played played(true);
    played.told(position(7, 10, with_digest ? digest(batch(9)) : 0));
    played.connected();
    CHECK(played.asked == 9);
    played.replayed(batch(9));
    played.replayed(batch(10));
    CHECK(played.sequences() == Sequences{10});
    CHECK(played.epoch() == 7);
    CHECK(played.machine.counters().restarts == 0);
  }
  SUBCASE("another batch: another life, which has passed the old one") {
    Played played(true);
    played.told(position(7, 10, digest(batch(9))));
    played.connected();
    played.replayed(batch(9, 1.8e9));
    CHECK(played.asked == 0);
    for (int i = 0; i < 11; ++i) played.replayed(batch(i, 1.8e9));
    CHECK(played.sequences().size() == 11);
    CHECK(played.epoch() == 1'800'000'000'000'000);
    CHECK(played.machine.counters().restarts == 1);
  }
  SUBCASE("nothing there: a younger life, whose clock went back") {
    Played played(true);
    played.told(position(kFirst_us + 1, 10, 99));
    played.connected();
    played.over();
    CHECK(played.asked == 0);
    played.replayed(batch(0));
    CHECK(played.epoch() == kFirst_us + 2);
  }
  SUBCASE("the buffer has rolled past it: a gap") {
    Played played(true);
    played.told(position(7, 10, 99));
    played.connected();
    played.replayed(batch(20));
    CHECK(played.epoch() == 7);
    CHECK(played.delivered[0].from.value == 20);
    CHECK(played.machine.counters().lost == 10);
  }
}

TEST_CASE("a gap is replayed from the last batch had") {
  Played played = begun();
  played.live(batch(5));
  CHECK(played.asked == 2);
  CHECK(played.machine.counters().gaps == 2);
  CHECK_FALSE(played.machine.caught_up());
  for (int i = 2; i < 6; ++i) played.replayed(batch(i));
  played.over();
  CHECK(played.sequences() == Sequences{0, 1, 2, 3, 4, 5});
  CHECK(played.machine.counters().lost == 0);
}

TEST_CASE("a hole in a replay is asked for once more, then it is lost") {
  Played played = begun();
  played.live(batch(7));
  played.replayed(batch(2));
  played.replayed(batch(4));
  CHECK(played.asked == 3);
  played.replayed(batch(4));
  CHECK_FALSE(played.asked.has_value());
  CHECK(played.sequences() == Sequences{0, 1, 2, 4});
  CHECK(played.machine.counters().lost == 1);
  played.over();  // the end of it is missing
  CHECK(played.asked == 5);
  played.over();
  CHECK(played.sequences() == Sequences{0, 1, 2, 4, 7});
  CHECK(played.machine.counters().lost == 3);
  CHECK(played.machine.caught_up());
}

TEST_CASE("a replay without progress is given up, and the next gap asks again") {
  Played played = begun();
  played.live(batch(5));
  played.pass(seconds(9));
  played.replayed(batch(2));
  played.pass(seconds(9));
  CHECK(played.machine.counters().replays_failed == 0);
  played.pass(seconds(1));
  CHECK(played.machine.counters().replays_failed == 1);
  CHECK(played.sequences() == Sequences{0, 1, 2, 5});
  CHECK(played.machine.counters().lost == 2);
  played.replayed(batch(3));  // late
  CHECK(played.sequences().size() == 4);
  played.live(batch(8));
  CHECK(played.asked == 5);
}

TEST_CASE("a lower sequence on one connection is looked into") {
  Played played = begun();
  played.live(batch(1));  // said before
  CHECK_FALSE(played.asked.has_value());
  played.live(batch(1, 1.8e9));
  CHECK(played.asked == 2);
  SUBCASE("another life") {
    played.over();
    CHECK(played.asked == 0);
    played.replayed(batch(0, 1.8e9));
    played.replayed(batch(1, 1.8e9));
    played.over();
    CHECK(played.sequences() == Sequences{0, 1, 2, 0, 1});
    CHECK(played.epoch() == 1'800'000'000'000'000);
  }
  SUBCASE("the same life after all") {
    played.replayed(batch(2));
    played.over();
    CHECK(played.sequences() == Sequences{0, 1, 2});
    CHECK(played.machine.counters().restarts == 0);
  }
  SUBCASE("replay does not answer: it is another life") {
    played.pass(seconds(10));
    played.live(batch(2, 1.8e9));
    CHECK(played.epoch() > kFirst_us);
  }
}

TEST_CASE("two engines behind one address are followed at a bounded pace") {
  for (const bool has_replay : {true, false}) {
    CAPTURE(has_replay);
    Played played(has_replay);
    played.told({});
    played.connected();
    std::uint64_t asked = 0;
    for (std::uint64_t i = 0; i < 2000; ++i) {  // 200 s
      const double life_s = i % 2 == 0 ? kFirst_s : 1.8e9;
      played.live(batch(i / 2 * 3 + (i % 2) * 1000 % 7, life_s));
      if (played.asked) {
        ++asked;
        const std::uint64_t from = *played.asked;
        played.replayed(batch(from, i % 3 == 0 ? kFirst_s : 1.8e9));
        if (!played.asked) played.over();
      }
      played.pass(milliseconds(100));
    }
    const std::uint64_t bound = RestartBudget::kBurst + 200 / 10 + 1;
    CHECK(played.machine.counters().restarts <= bound);
    CHECK(played.machine.counters().restarts > 2);
    for (std::size_t i = 1; i < played.delivered.size(); ++i) {
      CHECK(played.delivered[i].epoch >= played.delivered[i - 1].epoch);
    }
  }
}

TEST_CASE("without replay nothing begins before the mesh has answered") {
  Played played(false);
  played.connected();
  played.live(batch(40));
  played.live(batch(41));
  CHECK(played.delivered.empty());
  SUBCASE("nobody knows it") {
    played.told({});
    CHECK(played.sequences() == Sequences{40, 41});
    CHECK(played.epoch() == kFirst_us + 20'000'000);
  }
  SUBCASE("it goes on where the mesh is") {
    played.told(position(7, 41, digest(batch(40))));
    CHECK(played.sequences() == Sequences{41});
    CHECK(played.epoch() == 7);
  }
  SUBCASE("a gap in the life that is known") {
    played.told(position(7, 30, 99));
    CHECK(played.sequences() == Sequences{40, 41});
    CHECK(played.machine.counters().lost == 10);
    CHECK(played.epoch() == 7);
  }
  SUBCASE("the batch the mesh knows is said otherwise") {
    played.told(position(7, 41, 99));
    CHECK(played.sequences() == Sequences{40, 41});
    CHECK(played.epoch() == kFirst_us + 20'000'000);
  }
  SUBCASE("lower: perhaps others were only quicker, until it takes too long") {
    played.told(position(7, 44, digest(batch(43))));
    CHECK(played.delivered.empty());
    CHECK_FALSE(played.machine.caught_up());
    SUBCASE("they were") {
      for (int i = 42; i < 46; ++i) played.live(batch(i));
      CHECK(played.sequences() == Sequences{44, 45});
      CHECK(played.epoch() == 7);
    }
    SUBCASE("they were not") {
      played.pass(seconds(10));
      CHECK(played.sequences() == Sequences{40, 41});
      CHECK(played.epoch() == kFirst_us + 20'000'000);
    }
  }
}

TEST_CASE("batch 0 needs no answer of the mesh") {
  Played played(false);
  played.connected();
  played.live(batch(0));
  CHECK(played.epoch() == kFirst_us);
}

TEST_CASE("the mesh's later name for the same life is taken") {
  SUBCASE("with replay") {
    Played played = begun();
    played.told(position(kFirst_us + 9, 3, digest(batch(2))));
    CHECK_FALSE(played.asked.has_value());
    played.live(batch(3));
    CHECK(played.epoch() == kFirst_us + 9);
    played.told(position(kFirst_us + 10, 2, digest(batch(1))));
    CHECK(played.asked == 1);  // what follows is missing there
    for (int i = 1; i < 4; ++i) played.replayed(batch(i));
    CHECK(played.sequences() == Sequences{0, 1, 2, 3, 2, 3});
    CHECK(played.epoch() == kFirst_us + 10);
  }
  SUBCASE("without replay, when the batch they know comes by") {
    Played played(false);
    played.connected();
    for (int i = 0; i < 3; ++i) played.live(batch(i));
    played.told(position(kFirst_us + 9, 5, digest(batch(4))));
    played.live(batch(3));
    CHECK(played.epoch() == kFirst_us);
    played.live(batch(4));
    played.live(batch(5));
    CHECK(played.epoch() == kFirst_us + 9);
    CHECK(played.machine.counters().restarts == 0);
  }
  SUBCASE("without replay, and it is not the same life") {
    Played played(false);
    played.connected();
    for (int i = 0; i < 3; ++i) played.live(batch(i));
    played.told(position(kFirst_us + 9'000'000, 5, 99));
    for (int i = 3; i < 6; ++i) played.live(batch(i));
    CHECK(played.epoch() == kFirst_us + 9'000'001);
    CHECK(played.machine.counters().restarts == 1);
  }
}

TEST_CASE(
    "others' pushes of the same life change nothing while connected, and are built on after") {
  Played played = begun();
  played.told(position(kFirst_us, 9, digest(batch(8))));
  CHECK_FALSE(played.asked.has_value());
  played.live(batch(3));
  CHECK(played.sequences() == Sequences{0, 1, 2, 3});
  played.machine.disconnected(played.now);
  played.connected();
  CHECK(played.asked == 8);
  CHECK(played.machine.counters().reconnects == 1);
}

TEST_CASE("silence is looked into, and what it hid is delivered") {
  Played played = begun();
  played.pass(seconds(1));
  CHECK(played.asked == 2);
  CHECK(played.machine.caught_up());  // it only looks
  played.replayed(batch(2));
  played.over();
  played.pass(seconds(29));
  CHECK_FALSE(played.asked.has_value());
  played.pass(seconds(1));
  CHECK(played.asked == 2);
  SUBCASE("soon after a live batch, which may not have been the last") {
    played.replayed(batch(2));
    played.over();
    played.pass(seconds(20));
    played.live(batch(3));
    played.pass(seconds(1));
    CHECK_FALSE(played.asked.has_value());
    played.live(batch(4));
    played.pass(seconds(1));
    CHECK_FALSE(played.asked.has_value());
    played.pass(seconds(1));
    CHECK(played.asked == 4);
  }
  SUBCASE("always something and nothing live: the subscription is of no use") {
    for (std::uint64_t i = 2; i < 5; ++i) {
      CHECK_FALSE(played.reconnect);
      CHECK(played.asked == i);
      played.replayed(batch(i));
      played.replayed(batch(i + 1));
      CHECK_FALSE(played.machine.caught_up());
      played.over();
      if (i < 4) played.pass(seconds(30));
    }
    CHECK(played.reconnect);
    CHECK_FALSE(played.machine.is_connected());
    CHECK(played.sequences() == Sequences{0, 1, 2, 3, 4, 5});
  }
}

TEST_CASE("absurd sequences are counted and change nothing") {
  Played played = begun();
  played.live({kSequences, "x"});
  played.live({kNoSequence, ""});
  played.replayed({kNoSequence - 1, "x"});
  CHECK(played.machine.counters().absurd == 3);
  CHECK(played.machine.counters().gaps == 0);
  CHECK(played.sequences().size() == 3);
}

TEST_CASE("what is held is bounded by number and by bytes, and what goes is said as a gap") {
  StreamSettings settings;
  settings.max_held = 10;
  settings.quiet = seconds(1000);
  SUBCASE("number") {}
  SUBCASE("bytes") {
    settings.max_held = 1000;
    settings.max_held_bytes = 10 * batch(0).payload.size();
  }
  Played played(true, settings);
  played.connected();
  played.replayed(batch(0));
  for (int i = 1; i < 100; ++i) played.live(batch(i));
  played.pass(seconds(10));
  CHECK(played.sequences() == Sequences{0, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99});
  CHECK(played.machine.counters().lost == 89);
}

TEST_CASE("stamps are read from both envelopes, and unbelievable ones are none") {
  CHECK(batch_stamp_us(batch_payload(1.5)) == 1'500'000);
  CHECK(batch_stamp_us(std::string("\x81\xa2ts\xcb\x3f\xf8\0\0\0\0\0\0", 13)) == 1'500'000);
  CHECK(batch_stamp_us(std::string("\x82\xa1"
                                   "a\xc0\xa2ts\xcb\x3f\xf8\0\0\0\0\0\0",
                                   16)) == 1'500'000);
  CHECK(batch_stamp_us(batch_payload(-1.0)) == 0);
  CHECK(batch_stamp_us(batch_payload(1e12)) == 0);
  CHECK(batch_stamp_us(batch_payload(std::numeric_limits<double>::quiet_NaN())) == 0);
  CHECK(batch_stamp_us(batch_payload(std::numeric_limits<double>::infinity())) == 0);
  for (const char* text : {"", "\x90", "\x93", "\x93\xcb", "\x80", "\xc0", "\x93\xa1x"}) {
    CHECK(batch_stamp_us(text) == 0);
  }
}

TEST_CASE("a batch that does not decode counts as a step") {
  Played played(false);
  played.told({});
  played.connected();
  played.live({3, "no msgpack"});
  played.live({4, ""});
  CHECK(played.sequences() == Sequences{3, 4});
  CHECK(played.epoch() == 1);
}

TEST_CASE("after a gap the batches before it are not taken for those just before the next") {
  Played played(false);
  played.connected();
  for (int i = 0; i < 3; ++i) played.live(batch(i));
  played.live(batch(10));
  // Another name for what may be the same life: of batch 9 nothing is known.
  played.told(position(kFirst_us + 5, 10, 12345));
  played.live(batch(11));
  CHECK(played.epoch() == kFirst_us + 5);
  CHECK(played.machine.counters().restarts == 0);
}

TEST_CASE("a later life that others know is not taken for what this connection says") {
  Played played = begun();
  CHECK(played.machine.caught_up());
  played.told(position(kFirst_us + 1'000'000'000, 20, 77));
  CHECK(played.asked == 19);
  played.pass(seconds(11));  // the replay never answers
  CHECK_FALSE(played.machine.caught_up());
}
