// KvStream: which life of the engine it hears, and by which name.
#include <doctest/doctest.h>

#include "tests/node/kv/kv_stream_played.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

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

namespace {

// After begun(), from its beginning.
void next_life_is_replayed(Played& played) {
  CHECK(played.asked == 0);
  played.replayed(batch(0, 1.8e9));
  played.replayed(batch(1, 1.8e9));
  played.over();
  CHECK(played.sequences() == Sequences{0, 1, 2, 0, 1});
  CHECK(played.epoch() == 1'800'000'000'000'000);
}

}  // namespace

TEST_CASE("a lower sequence on one connection is looked into") {
  Played played = begun();
  played.live(batch(1));  // said before
  CHECK_FALSE(played.asked.has_value());
  played.live(batch(1, 1.8e9));
  CHECK(played.asked == 2);
  SUBCASE("another life") {
    played.over();
    next_life_is_replayed(played);
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

TEST_CASE("what is held while another life is replayed is not laid upon it") {
  constexpr double kNext_s = kFirst_s + 3600.0;
  Played played(true);
  played.connected();
  SUBCASE("it follows by its number and is older") { played.live(batch(1)); }
  SUBCASE("it is another batch of the same number") {
    played.live(batch(0));
    played.live(batch(1));
  }
  SUBCASE("the replay was of the life before") {
    for (int i = 0; i < 3; ++i) played.replayed(batch(i));
    played.live(batch(1, kNext_s));
    played.over();
    CHECK(played.asked == 2);
    played.over();
    CHECK(played.asked == 0);
    for (int i = 0; i < 2; ++i) played.replayed(batch(i, kNext_s));
    played.over();
    CHECK(played.sequences() == Sequences{0, 1, 2, 0, 1});
    CHECK(played.epoch() == kFirst_us + 3'600'000'000);
    return;
  }
  played.replayed(batch(0, kNext_s));
  played.over();
  CHECK(played.asked == 0);  // is it this life?
  played.replayed(batch(0, kNext_s));
  played.replayed(batch(1, kNext_s));
  played.over();
  CHECK(played.sequences() == Sequences{0, 1});
  CHECK(digest(played.delivered[1].batch) == digest(batch(1, kNext_s)));
  CHECK(played.machine.caught_up());
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

TEST_CASE("a later life that others know is not taken for what this connection says") {
  Played played = begun();
  CHECK(played.machine.caught_up());
  played.told(position(kFirst_us + 1'000'000'000, 20, 77));
  CHECK(played.asked == 19);
  played.pass(seconds(11));  // the replay never answers
  CHECK_FALSE(played.machine.caught_up());
}

TEST_CASE("that an engine keeps nothing to replay is found out, and costs no certainty") {
  Played played(true);
  played.told({});
  played.connected();
  played.over();
  played.live(batch(0));
  CHECK(played.asked == 0);  // does it keep this one?
  played.over();
  CHECK(played.asked == 0);
  played.over();
  CHECK(played.machine.caught_up());
  played.live(batch(1));
  CHECK_FALSE(played.asked.has_value());
  CHECK(played.machine.caught_up());
  CHECK(played.sequences() == Sequences{0, 1});
  CHECK(played.begun.empty());
  // On another connection nothing says that it is the same engine.
  played.machine.disconnected(played.now);
  played.connected();
  CHECK(played.asked == 1);
  played.over();
  played.over();
  CHECK_FALSE(played.machine.caught_up());
  played.live(batch(2));
  CHECK(played.sequences() == Sequences{0, 1, 2});
}

namespace {

// The engine of begun() has restarted, and has nothing to replay.
Played restarted_silently() {
  Played played = begun();
  played.machine.disconnected(played.now);
  played.connected();
  CHECK(played.asked == 2);
  played.over();
  CHECK(played.asked == 0);
  CHECK(played.begun.empty());
  played.over();
  return played;
}

}  // namespace

TEST_CASE("an engine that restarted and has said nothing yet has begun an empty life") {
  Played played = restarted_silently();
  REQUIRE(played.begun == Sequences{kFirst_us + 1});
  CHECK(played.machine.caught_up());
  CHECK(played.machine.counters().restarts == 1);
  played.told(position(kFirst_us + 1, 0, 0));
  CHECK_FALSE(played.asked.has_value());
  SUBCASE("its first batch names the life") {
    played.live(batch(0, 1.8e9));
    CHECK(played.epoch() == 1'800'000'000'000'000);
    CHECK(played.machine.counters().restarts == 1);
  }
  SUBCASE("by a greater name, whatever its clock says") {
    played.live(batch(0, 1.6e9));
    CHECK(played.epoch() == kFirst_us + 2);
    played.live(batch(1, 1.6e9));
    CHECK(played.epoch() == kFirst_us + 2);
  }
  SUBCASE("its first batch is lost on the way, and looked for") {
    played.live(batch(1, 1.8e9));
    next_life_is_replayed(played);
  }
  SUBCASE("its first batches are not to be had") {
    played.live(batch(5, 1.8e9));
    played.over();
    CHECK(played.delivered.back().batch.sequence == 5);
    CHECK(played.epoch() == kFirst_us + 1);  // who heard batch 0 has a greater one
  }
  SUBCASE("silent, it is looked at again, and is the same") {
    played.pass(seconds(1));
    CHECK(played.asked == 0);
    played.over();
    CHECK_FALSE(played.asked.has_value());
    played.machine.disconnected(played.now);
    played.connected();
    CHECK(played.asked == 0);
    played.over();
    CHECK(played.machine.caught_up());
    CHECK(played.begun.size() == 1);
  }
}

TEST_CASE("an empty life that another observer saw begin is taken, and named alike") {
  Played played = begun();
  played.told(position(kFirst_us + 1, 0, 0));
  CHECK(played.asked == 0);
  SUBCASE("the engine is silent here too") {
    played.over();
    CHECK(played.machine.caught_up());
    CHECK(played.begun.empty());
    played.live(batch(0, 1.8e9));
  }
  SUBCASE("it has spoken meanwhile") {
    played.replayed(batch(0, 1.8e9));
    played.over();
  }
  CHECK(played.epoch() == 1'800'000'000'000'000);
  CHECK(played.delivered.back().from.value == 0);
}

TEST_CASE("what does not prove that an engine is silent begins no empty life") {
  SUBCASE("a replay that does not answer") {
    Played played = begun();
    played.machine.disconnected(played.now);
    played.connected();
    played.pass(seconds(10));
    CHECK(played.begun.empty());
    CHECK_FALSE(played.machine.caught_up());
  }
  SUBCASE("the second one does not") {
    Played played = begun();
    played.machine.disconnected(played.now);
    played.connected();
    played.over();
    played.pass(seconds(10));
    CHECK(played.begun.empty());
  }
  SUBCASE("a replay that never had anything") {
    Played played(true);
    played.told(position(7, 10, digest(batch(9))));
    played.connected();
    played.over();
    played.over();
    CHECK(played.begun.empty());
    played.live(batch(10));
    CHECK(played.epoch() == 7);
  }
  SUBCASE("batches come while it is asked") {
    Played played = begun();
    played.machine.disconnected(played.now);
    played.connected();
    played.over();
    played.live(batch(0, 1.8e9));
    played.over();
    CHECK(played.begun.empty());
    CHECK(played.epoch() == 1'800'000'000'000'000);
  }
  SUBCASE("a stream of which nothing is known") {
    Played played(true);
    played.told({});
    played.connected();
    played.over();
    CHECK(played.begun.empty());
  }
}

TEST_CASE("whether a replay keeps anything is tried with the first batch, and once") {
  Played played(true);
  played.told({});
  played.connected();
  played.over();
  played.live(batch(0));
  CHECK(played.asked == 0);
  while (played.asked) played.over();  // it keeps nothing
  for (int i = 1; i < 12; ++i) {
    played.live(batch(i));
    played.pass(milliseconds(100));
    CHECK(!played.asked);
  }
  CHECK(played.delivered.size() == 12);
  CHECK(played.begun.empty());
}

TEST_CASE("an engine that restarts silently again and again is followed at a bounded pace") {
  Played played = begun();
  std::uint64_t sequence = 0;
  for (int i = 0; i < 400; ++i) {  // 200 s; a replay says now something, now nothing
    played.machine.disconnected(played.now);
    played.connected();
    for (int turn = 0; turn < 4 && played.asked; ++turn) played.over();
    const RawBatch said = batch(0, 1.8e9 + 10.0 * static_cast<double>(++sequence));
    played.live(said);
    if (played.asked) played.replayed(said), played.over();  // what it says it keeps
    played.pass(milliseconds(500));
  }
  CHECK(played.begun.size() > 2);
  CHECK(played.machine.counters().restarts <= RestartBudget::kBurst + 200 / 10 + 1);
}
