// That an instance was away, and its engine has said nothing since, among nodes.
#include <doctest/doctest.h>

#include <vector>

#include "tests/node/kv/kv_exchange_pair.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

namespace {

const std::vector<BlockChange> kBlocks{{BlockMap::Kind::add, 7, {9, 0, {}}}};

ObservedBatches batch(std::uint64_t epoch, std::uint64_t to) {
  return {{epoch}, {to - 1}, {to}, kBlocks, to, {16}};
}

struct AwayPair : Pair {
  AwayPair() : stream(first_after_talk()) {
    for (std::uint64_t step = 1; step <= 3; ++step) state_a.observed(stream, batch(5, step));
  }
  StreamKey first_after_talk() {
    tick(1s);
    talk();
    return first_observed_by_a();
  }
  std::uint64_t away_at_a() const { return state_a.position(stream).away.value; }
  std::uint64_t away_at_b() const { return state_b.position(stream).away.value; }
  const StreamKey stream;
};

}  // namespace

TEST_CASE("that an instance was away is known to the others until its engine says more") {
  AwayPair pair;
  pair.pass(200ms);
  CHECK(pair.state_b.position(pair.stream).end.value == 3);
  SUBCASE("told by who pushes") { pair.state_a.doubt(pair.stream, {5}, {3}); }
  SUBCASE("told by who does not") { pair.state_b.doubt(pair.stream, {5}, {3}); }
  pair.pass(100ms);
  CHECK(pair.away_at_a() == 3);
  CHECK(pair.away_at_b() == 3);
  CHECK(pair.state_a.position(pair.stream) == pair.state_b.position(pair.stream));
  pair.state_a.observed(pair.stream, batch(5, 4));
  pair.pass(200ms);
  CHECK(pair.state_b.position(pair.stream).end.value == 4);
  CHECK(pair.away_at_a() == 0);
  CHECK(pair.away_at_b() == 0);
}

TEST_CASE("that an instance was away comes through though messages are lost") {
  AwayPair pair;
  pair.pass(5s);
  pair.state_a.doubt(pair.stream, {5}, {3});
  for (int i = 0; i < 50; ++i) {  // for longer than the comparison leaves out what has just moved
    pair.tick(100ms);
    pair.a.take(Pair::kB, pair.now);
    pair.b.take(Pair::kA, pair.now);
  }
  CHECK(pair.away_at_b() == 0);
  pair.pass(3s);
  CHECK(pair.away_at_b() == 3);
}

TEST_CASE("who joins after an instance was away doubts what it is given, fetched or pushed") {
  AwayPair pair;
  SUBCASE("pushed") {}
  SUBCASE("fetched") {
    pair.a.reaches(pair.stream, false, pair.now);
    pair.state_a.observed(pair.stream, {{5}, {3}, {200}, kBlocks, 200, {16}});
  }
  const std::uint64_t end = pair.state_a.position(pair.stream).end.value;
  pair.state_a.doubt(pair.stream, {5}, {end});
  for (int i = 0; i < 50 && pair.state_b.position(pair.stream).end.value < end; ++i) {
    pair.pass(20ms);
  }
  CHECK(pair.state_b.position(pair.stream).end.value == end);
  CHECK(pair.away_at_b() == end);  // at once
}

TEST_CASE("another name for the life, or for a batch of it, lifts no doubt; another life does") {
  AwayPair pair;
  pair.pass(200ms);
  pair.state_a.doubt(pair.stream, {5}, {3});
  SUBCASE("another name") {
    pair.state_a.rename(pair.stream, {9});
    pair.pass(500ms);
    CHECK(pair.state_b.position(pair.stream).epoch.value == 9);
    CHECK(pair.away_at_a() == 3);
    CHECK(pair.away_at_b() == 3);
  }
  SUBCASE("another life") {
    pair.state_a.observed(pair.stream, batch(9, 1));
    pair.pass(500ms);
    CHECK(pair.state_b.position(pair.stream).epoch.value == 9);
    CHECK(pair.away_at_a() == 0);
    CHECK(pair.away_at_b() == 0);
  }
}

TEST_CASE("that an instance was away where nobody has come to is not believed") {
  AwayPair pair;
  pair.pass(200ms);
  const auto b_says = [&](std::uint64_t end, std::uint64_t away) {
    KvHead head{.stream = name_of(pair.stream), .position = {.epoch = {5}, .end = {end}}};
    head.position.away = {away};
    std::string message;
    write_section(KvHeads{.heads = {head}}, message);
    pair.a.received(Pair::kB, message, pair.now);
  };
  b_says(3, std::uint64_t{1} << 62);
  CHECK(pair.away_at_a() == 0);
  pair.state_a.observed(pair.stream, batch(5, 4));
  pair.a.tick(pair.now);
  CHECK(pair.away_at_a() == 0);
  b_says(2, 6);  // who is behind may have heard of it from another
  CHECK(pair.away_at_a() == 0);
  pair.state_a.observed(pair.stream, batch(5, 5));
  pair.state_a.observed(pair.stream, batch(5, 6));
  pair.a.tick(pair.now);
  CHECK(pair.away_at_a() == 6);
}

TEST_CASE("a life that had another name is doubted by either, and one that comes by its own") {
  KvState state{{}};
  const StreamKey stream{"engine", 0};
  state.set_streams(std::vector{stream});
  state.observed(stream, batch(5, 1));
  state.observed(stream, batch(5, 2));
  SUBCASE("by the name it had") {
    state.rename(stream, {9});
    CHECK_FALSE(state.doubt(stream, {4}, {2}));
    CHECK(state.doubt(stream, {5}, {2}));
  }
  SUBCASE("by the name it gets") {
    CHECK_FALSE(state.doubt(stream, {9}, {2}));
    CHECK(state.position(stream).away.value == 0);
    state.rename(stream, {9});
  }
  CHECK(state.position(stream).away.value == 2);
  CHECK_FALSE(state.doubt(stream, {20}, {1}));
  state.observed(stream, batch(20, 1));
  CHECK(state.position(stream).away.value == 1);
  state.observed(stream, batch(20, 2));
  CHECK(state.position(stream).away.value == 0);
}

TEST_CASE("where nothing was away, knowing about it costs nothing") {
  KvHeads heads;
  heads.heads.push_back({.stream = 7, .position = {.epoch = {5}, .end = {3}}});
  std::string as_ever, doubted;
  write_section(heads, as_ever);
  heads.heads.back().position.away = {3};
  write_section(heads, doubted);
  CHECK(doubted.size() == as_ever.size() + 1);
  CHECK(as_ever.size() == 1 + 1 + 4 + 8 + 1 + 4 + 8 + 1 + 8);
}
