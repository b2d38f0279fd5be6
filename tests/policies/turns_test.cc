// The rule of turns, case by case, by hand.
#include "policies/turns.h"

#include <doctest/doctest.h>

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// Answers as it is told and counts how often it is asked.
struct First {
  bool answer;
  int asked = 0;
};

Turn ask(const TurnFacts& facts, Time now, First& first) {
  return take_turn(facts, now, [&] {
    ++first.asked;
    return first.answer;
  });
}

Turn ask(const TurnFacts& facts, Time now, bool first) {
  First answer{first};
  return ask(facts, now, answer);
}

}  // namespace

TEST_CASE("turns: an idle instance gets the first request at once") {
  const Turn turn = ask({.room_since = 10s}, 10s, true);
  CHECK(turn.send);
  CHECK(turn.ask_again == Turn::kNever);
}

TEST_CASE("turns: an idle instance is left to another node's request for the grace, then taken") {
  const TurnFacts idle{.room_since = 10s};
  for (const Time now : {Time(10s), Time(10s + 1ms), Time(10s + kGrace - 1ns)}) {
    const Turn turn = ask(idle, now, false);
    CHECK(!turn.send);
    CHECK(turn.ask_again == 10s + kGrace);
  }
  CHECK(kGrace == 20ms);
  for (const Time now : {Time(10s + kGrace), Time(11s)}) {
    First first{false};
    CHECK(ask(idle, now, first).send);
    CHECK(first.asked == 0);  // whoever has work
  }
}

TEST_CASE("turns: one sent ahead goes its lead before the end of those that run, if it is first") {
  const TurnFacts busy{
      .running = 1, .limit = 1, .free_at = 12s, .lapse = 30s, .room_since = 1s, .lead = 40ms};
  for (const bool first : {true, false}) {
    First answer{first};
    const Turn turn = ask(busy, 12s - 40ms - 1ns, answer);
    CHECK(!turn.send);
    CHECK(turn.ask_again == 12s - 40ms);
    CHECK(answer.asked == 0);  // it does not matter yet
  }
  CHECK(ask(busy, 12s - 40ms, true).send);
  const Turn later = ask(busy, 12s - 40ms, false);
  CHECK(!later.send);  // no grace: it is not idle
  CHECK(later.ask_again == 30s);
  // Late with its first token: the next is sent by whoever is first, and by nobody else.
  CHECK(ask(busy, 13s, true).send);
  CHECK(!ask(busy, 13s, false).send);
}

TEST_CASE("turns: nobody sends a second ahead, nor one beyond a limit above one") {
  for (const std::uint32_t limit : {1U, 3U}) {
    CAPTURE(limit);
    TurnFacts facts{
        .running = limit + 1, .limit = limit, .free_at = 12s, .lapse = 30s, .lead = 40ms};
    for (const Time now : {Time(11s), Time(12s), Time(29s)}) {
      const Turn turn = ask(facts, now, true);
      CHECK(!turn.send);
      CHECK(turn.ask_again == 30s);
    }
    --facts.running;
    CHECK(!ask(facts, 11s, true).send);
    CHECK(ask(facts, 12s, true).send);
  }
}

TEST_CASE("turns: without a lead nothing is sent ahead") {
  const TurnFacts busy{.running = 1, .limit = 1, .free_at = 12s, .lapse = 30s};
  for (const Time now : {Time(11s), Time(12s), Time(20s)}) {
    const Turn turn = ask(busy, now, true);
    CHECK(!turn.send);
    CHECK(turn.ask_again == 30s);
  }
}

TEST_CASE("turns: it asks again when what others have running lapses, unless it has already") {
  TurnFacts busy{.running = 1, .limit = 1, .free_at = 12s, .lapse = 11s, .lead = 40ms};
  CHECK(ask(busy, 10s, true).ask_again == 11s);  // before the time to send ahead
  CHECK(ask(busy, 11s, true).ask_again == 12s - 40ms);
  CHECK(ask(busy, 12s, false).ask_again == Turn::kNever);
  busy.running = 2;
  CHECK(ask(busy, 11s - 1ns, true).ask_again == 11s);
  CHECK(ask(busy, 11s, true).ask_again == Turn::kNever);  // ours run: an answer will come
}
