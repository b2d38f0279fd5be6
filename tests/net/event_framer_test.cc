// EventFramer beside the plainest reading of the same stream.
#include "net/event_framer.h"

#include <doctest/doctest.h>

#include <random>

using dualmesh::net::EventFramer;

namespace {

// Where the last blank line of `text` ends.
std::size_t twin_end(const std::string& text) {
  std::size_t end = 0;
  for (const std::string blank : {"\n\n", "\r\r", "\n\r\n"}) {
    const std::size_t at = text.rfind(blank);
    if (at != std::string::npos) end = std::max(end, at + blank.size());
  }
  return end;
}

}  // namespace

TEST_CASE("what passes is always whole events, and nothing is lost, wherever it is cut") {
  for (unsigned seed = 1; seed <= 2'000; ++seed) {
    std::mt19937 random(seed);
    std::string fed, passed;
    EventFramer framer;
    for (int i = 0; i < 40; ++i) {
      std::string piece;
      for (unsigned left = random() % 6; left > 0; --left) piece += "\n\rab"[random() % 4];
      fed += piece;
      passed += framer.feed(piece);
      CAPTURE(seed);
      CAPTURE(i);
      // An empty line after a blank one may wait: it ends nothing.
      const std::size_t end = twin_end(fed);
      REQUIRE(passed.size() <= end);
      REQUIRE(fed.find_first_not_of("\r\n", passed.size()) >= end);
      REQUIRE((passed.empty() || twin_end(passed) == passed.size()));
      REQUIRE(passed + std::string(framer.rest()) == fed);
      REQUIRE(framer.between_events());
    }
  }
}

TEST_CASE("whole events are not copied") {
  EventFramer framer;
  const std::string event = "data: {}\n\n";
  CHECK(framer.feed(event).data() == event.data());
  CHECK(framer.rest().empty());
}

TEST_CASE("an event beyond measure passes in parts, and its end is still seen") {
  for (const std::string blank : {"\n\n", "\r\n\r\n"}) {
    for (std::size_t cut = 0; cut <= blank.size(); ++cut) {
      EventFramer framer;
      const std::string large = "data: " + std::string(EventFramer::kLargestEvent, 'x');
      std::string passed(framer.feed(large));
      CHECK(passed.size() + framer.rest().size() == large.size());
      CHECK(framer.rest().size() <= 2);
      CHECK_FALSE(framer.between_events());
      passed += framer.feed(blank.substr(0, cut));
      passed += framer.feed(blank.substr(cut));
      CHECK(passed == large + blank);
      CHECK(framer.between_events());
      CHECK(framer.feed("data: 1\n").empty());
      CHECK(framer.feed("\n") == "data: 1\n\n");
    }
  }
}
