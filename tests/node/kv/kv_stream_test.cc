// KvStream, rule by rule.
#include "node/kv/kv_stream.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tests/node/kv/kv_stream_played.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

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

TEST_CASE("silence is looked into, and what it hid is delivered") {
  Played played = begun();
  played.pass(seconds(1));
  CHECK(played.asked == 2);
  CHECK(played.machine.caught_up());  // it only looks
  for (const int pause_s : {2, 4, 8, 16, 30, 30}) {  // ever less often
    played.replayed(batch(2));
    played.over();
    played.pass(seconds(pause_s) - milliseconds(1));
    CHECK_FALSE(played.asked.has_value());
    played.pass(milliseconds(1));
    REQUIRE(played.asked == 2);
  }
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
  SUBCASE("soon after a gap, as the next may be lost as well") {
    played.replayed(batch(2));
    played.over();
    played.live(batch(4));
    REQUIRE(played.asked == 2);
    played.replayed(batch(2));
    played.replayed(batch(3));
    played.over();
    played.pass(seconds(1));
    CHECK_FALSE(played.asked.has_value());
    played.pass(seconds(1));
    CHECK(played.asked == 4);
    played.replayed(batch(4));
    played.over();  // nothing
    played.pass(milliseconds(1999));
    CHECK_FALSE(played.asked.has_value());
    played.pass(milliseconds(1));
    CHECK(played.asked == 4);
  }
  SUBCASE("soon after a look beside which something came") {
    played.live(batch(3));
    played.replayed(batch(2));
    played.replayed(batch(3));
    played.over();
    played.pass(seconds(2));
    CHECK(played.asked == 3);
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

TEST_CASE("a subscription that brings nothing, time and again, is known for one") {
  Played played = begun();
  const std::uint64_t heard = played.machine.counters().live;
  std::uint64_t next = 3;
  const auto look = [&](Duration after, std::uint64_t batches) {
    played.pass(after);
    REQUIRE(played.asked == next - 1);
    played.replayed(batch(next - 1));
    for (; batches > 0; --batches) played.replayed(batch(next++));
    played.over();
  };
  look(seconds(1), 5);  // the subscription may have begun after the connection
  CHECK(played.machine.unheard() == 0);
  look(seconds(2), 5);                   // at once again: there was something
  CHECK(played.machine.unheard() == 0);  // many batches may be lost at once
  SUBCASE("never") {
    look(seconds(2), 1);
    CHECK(played.machine.unheard() == 6);
    REQUIRE(played.reconnect);
    played.connected();
    played.replayed(batch(next - 1));
    played.replayed(batch(next++));  // of the time between the connections
    played.over();
    CHECK(played.machine.unheard() == 6);
    for (int i = 0; i < 5; ++i) {  // a new connection is no better, and not made so often
      look(i == 0 ? seconds(1) : seconds(2), 1);
      CHECK_FALSE(played.reconnect);
    }
    CHECK(played.machine.unheard() == 10);
    look(seconds(2), 0);
    CHECK(played.machine.unheard() == 10);
    CHECK(played.machine.counters().live == heard);
  }
  SUBCASE("but it does: some were lost") {
    look(seconds(2), 0);
    CHECK(played.machine.unheard() == 0);
    played.live(batch(next++));
    look(seconds(2), 3);
    look(seconds(2), 0);
    CHECK(played.machine.unheard() == 0);
  }
  SUBCASE("the engine went, and is there again") {
    look(seconds(2), 1);
    played.machine.disconnected(played.now);
    played.connected();
    played.replayed(batch(next - 1));
    played.over();
    CHECK(played.machine.unheard() == 0);
  }
  SUBCASE("it does again") {
    look(seconds(2), 1);
    played.connected();
    played.replayed(batch(next - 1));
    played.over();
    played.live(batch(next++));
    CHECK(played.machine.unheard() == 0);
    CHECK(played.machine.counters().live == heard + 1);
  }
}

TEST_CASE("what comes while a look has no answer waits a second, or for a gap to be filled") {
  Played played = begun();
  played.pass(seconds(1));
  CHECK(played.machine.caught_up());
  CHECK(played.machine.replay_silent(played.now) == seconds(0));
  SUBCASE("the next batch") {
    played.live(batch(3));
    CHECK_FALSE(played.machine.caught_up());
    played.pass(milliseconds(999));
    CHECK(played.sequences() == Sequences{0, 1, 2});
    played.pass(milliseconds(1));
    CHECK(played.sequences() == Sequences{0, 1, 2, 3});
    CHECK(played.machine.caught_up());
    CHECK_FALSE(played.machine.replay_answers());
    played.pass(seconds(2));
    CHECK(played.asked == 3);
    played.over();  // the engine keeps nothing, and says so
    CHECK(played.machine.replay_answers());
  }
  SUBCASE("one further on") {
    played.live(batch(4));
    played.pass(seconds(4));
    CHECK(played.machine.replay_silent(played.now) == seconds(4));
    CHECK_FALSE(played.machine.caught_up());
    played.pass(seconds(6));  // given up
    CHECK_FALSE(played.machine.replay_answers());
    CHECK(played.machine.replay_silent(played.now) == seconds(0));
    CHECK(played.sequences() == Sequences{0, 1, 2, 4});
  }
}

TEST_CASE("what is of another life than the replay is dropped, however often it comes") {
  constexpr double kNext_s = kFirst_s + 3600.0;
  Played played(true);
  for (std::uint32_t i = 0; i < RestartBudget::kBurst + 3; ++i) {
    played.connected();
    played.live(batch(1));
    played.replayed(batch(0, kNext_s));
    played.over();
  }
  CHECK(played.sequences() == Sequences{0});
  CHECK_FALSE(played.machine.caught_up());
  played.pass(RestartBudget::kRefill);
  CHECK(played.asked == 0);
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
