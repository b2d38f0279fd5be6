// KvExchange between two nodes, rule by rule.
#include "tests/node/kv/kv_exchange_pair.h"

#include <doctest/doctest.h>

#include <vector>

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

TEST_CASE("who never says a word observes nothing for us, until it does") {
  Pair pair;
  pair.tick(9s);
  const std::size_t of_two = pair.observed_by_a();
  CHECK(of_two > 0);
  CHECK(of_two < pair.keys.size());
  pair.tick(2s);  // a build that does not know such messages
  CHECK(pair.observed_by_a() == pair.keys.size());
  CHECK(pair.a.mesh_known());
  pair.talk();
  CHECK(pair.observed_by_a() == of_two);
  pair.tick(60s);
  CHECK(pair.observed_by_a() == of_two);
}

TEST_CASE("lists that take many messages are heard whole, though both ask for the other's") {
  Pair pair(1, 600);
  for (std::uint64_t i = 0; i < pair.keys.size(); ++i) {
    KvState& state = i % 2 == 0 ? pair.state_a : pair.state_b;
    state.observed(pair.keys[i], {{5}, {i}, {i + 1}, {}, 3, {16}});
  }
  pair.tick(1s);
  for (int i = 0; i < 20; ++i) {
    pair.now += 20ms;
    pair.talk();
  }
  CHECK(pair.a.mesh_known());
  CHECK(pair.b.mesh_known());
}

TEST_CASE("a peer that names a life no engine has is believed in all else") {
  Pair pair;
  pair.tick(1s);
  KvHeads list{.all = true, .last = true};
  for (const std::uint64_t epoch : {std::uint64_t{1} << 62, std::uint64_t{5}}) {
    const StreamName name = name_of(pair.keys[list.heads.size()]);
    list.heads.push_back({.stream = name, .position = {.epoch = {epoch}}});
  }
  std::string message;
  write_section(list, message);
  pair.a.received(Pair::kB, message, pair.now);
  CHECK(pair.state_a.position(pair.keys[0]).epoch.value == 0);
  CHECK(pair.state_a.position(pair.keys[1]).epoch.value == 5);
  CHECK(pair.a.mesh_known());
  CHECK(pair.a.counters().absurd == 1);
  CHECK(pair.a.counters().malformed == 0);
}

TEST_CASE("of a new stream the mesh is asked anew, however long it has been known") {
  Pair pair;
  pair.tick(1s);
  pair.talk();
  CHECK(pair.a.mesh_known());
  pair.tick(60s);
  pair.talk();
  pair.keys.push_back({"other", 0});
  for (KvState* state : {&pair.state_a, &pair.state_b}) state->set_streams(pair.keys);
  pair.tick(1s);
  CHECK_FALSE(pair.a.mesh_known());
  pair.talk();
  CHECK(pair.a.mesh_known());
}

TEST_CASE("which of an engine's groups counts is known where its blocks are") {
  Pair pair;
  pair.tick(1s);
  pair.talk();
  const std::vector<BlockChange> blocks{{BlockMap::Kind::add, 7, {9, 0, {}}}};
  pair.state_a.observed(pair.keys[0], {{5}, {0}, {1}, blocks, 3, {16, 2}});  // fetched, or told
  pair.state_b.observed(pair.keys[1], {{5}, {4}, {5}, blocks, 3, {16, 1}});
  for (int i = 0; i < 20; ++i) {
    pair.tick(200ms);
    pair.talk();
  }
  CHECK(pair.state_b.facts(pair.keys[0]) == StreamFacts{16, 2});
  CHECK(pair.state_a.facts(pair.keys[1]) == StreamFacts{16, 1});
}

TEST_CASE("a state that came otherwise than it was announced is refused, and fetched again") {
  Pair pair;
  const StreamKey& stream = pair.keys[0];
  const std::vector<BlockChange> blocks{{BlockMap::Kind::add, 7, {9, 0, {}}}};
  pair.a.reaches(stream, false, pair.now);  // so it does not push
  pair.state_a.observed(stream, {{5}, {0}, {200}, blocks, 3, {16}});
  pair.spoil = true;
  pair.pass(1000ms);
  CHECK(pair.state_b.position(stream).epoch.value == 0);
  CHECK(pair.b.counters().spoilt == 1);
  CHECK(pair.b.counters().fetches_failed == 1);
  pair.spoil = false;
  pair.pass(4000ms);  // who said so is not asked again at once
  CHECK(pair.state_b.position(stream) == pair.state_a.position(stream));
  CHECK(pair.b.counters().spoilt == 1);
}

TEST_CASE("who is behind is not given the state that it had before, however long that is kept") {
  Pair pair;
  const StreamKey& stream = pair.keys[0];
  const std::vector<BlockChange> blocks{{BlockMap::Kind::add, 7, {9, 0, {}}}};
  pair.a.reaches(stream, false, pair.now);  // so it does not push
  pair.state_a.observed(stream, {{5}, {0}, {200}, blocks, 3, {16}});
  pair.pass(1000ms);
  CHECK(pair.state_b.position(stream).end.value == 200);
  CHECK(pair.b.counters().fetches == 1);
  const std::vector<BlockChange> unknown{{BlockMap::Kind::add, 8, {}}};  // which is said at once
  pair.state_a.observed(stream, {{5}, {200}, {201}, unknown, 4, {16}});
  pair.pass(2500ms);  // the cut at 200 is kept for three seconds
  CHECK(pair.state_b.position(stream) == pair.state_a.position(stream));
  CHECK(pair.b.counters().fetches == 2);
}

TEST_CASE(
    "a complete copy waits until it comes to the batch that a newcomer's greater name is of") {
  Pair pair;
  const StreamKey& stream = pair.keys[0];
  const auto observe = [&](KvState& state, std::uint64_t epoch, std::uint64_t from,
                           std::uint64_t to) {
    for (; from < to; ++from) {
      const std::vector<BlockChange> blocks{{BlockMap::Kind::add, from + 1, {from + 1, 0, {}}}};
      state.observed(stream, {{epoch}, {from}, {from + 1}, blocks, from + 1000, {16}});
    }
  };
  observe(pair.state_a, 5, 0, 90);
  observe(pair.state_b, 9, 94, 100);
  pair.pass(3s);
  CHECK(pair.state_a.position(stream).epoch.value == 5);
  SUBCASE("it comes there") {
    observe(pair.state_a, 5, 90, 102);
    pair.pass(1s);
    CHECK(pair.state_a.position(stream).complete());
    CHECK(pair.state_a.position(stream).end.value == 102);
  }
  SUBCASE("it does not") {
    pair.pass(3s);
    CHECK(pair.state_a.position(stream).base.value == 94);
  }
  CHECK(pair.state_a.position(stream).epoch.value == 9);
  CHECK(pair.state_b.position(stream) == pair.state_a.position(stream));
}

TEST_CASE("who observes as well is told nothing, until it stands still") {
  Pair pair(2);
  pair.tick(1s);
  pair.talk();
  const std::vector<BlockChange> blocks{{BlockMap::Kind::add, 7, {9, 0, {}}}};
  crdt::Version step{0};
  const auto pass = [&](int turns, bool b_hears) {
    for (; turns > 0; --turns) {
      ++step.value;
      for (const StreamKey& stream : pair.keys) {
        const ObservedBatches heard{{5}, {step.value - 1}, step, blocks, step.value, {16}};
        pair.state_a.observed(stream, heard);
        if (b_hears) pair.state_b.observed(stream, heard);
      }
      pair.tick(20ms);
      pair.talk();
    }
  };
  const auto told = [&] {
    return pair.a.counters().changes_received + pair.b.counters().changes_received;
  };
  pass(200, true);
  const std::uint64_t at_first = told();  // before each knew what the other has
  CHECK(at_first <= 2 * pair.keys.size());
  pass(200, true);
  CHECK(told() == at_first);
  pass(90, false);
  for (const StreamKey& stream : pair.keys) {
    CHECK(pair.state_b.position(stream).end.value + 15 >= step.value);
  }
  CHECK(pair.b.counters().fetches == 0);
}

TEST_CASE("who speaks what we cannot read observes nothing for us") {
  Pair pair;
  for (int second = 0; second < 15; ++second) {
    pair.tick(1s);
    pair.a.received(Pair::kB, "\x01 of another build", pair.now);
  }
  CHECK(pair.observed_by_a() == pair.keys.size());
}

TEST_CASE(
    "that an engine is out of reach, and is so no longer, comes through though messages are lost") {
  Pair pair;
  pair.tick(1s);
  pair.talk();
  const StreamKey stream = pair.first_observed_by_a();
  for (const bool reached : {false, true}) {
    pair.a.reaches(stream, reached, pair.now);
    pair.tick(10ms);
    pair.a.take(Pair::kB, pair.now);  // lost
    for (int i = 0; i < 30; ++i) {
      pair.tick(100ms);
      pair.talk();
    }
    CHECK(pair.a.observes(stream) == reached);
    CHECK(pair.b.observes(stream) == !reached);
  }
}

TEST_CASE("a new life whose first batches remove is pushed to who holds the old one") {
  Pair pair;
  pair.tick(1s);
  pair.talk();
  const StreamKey stream = pair.first_observed_by_a();
  const auto add = [](EngineHash hash) {
    return BlockChange{BlockMap::Kind::add, hash, {hash + 100, 0, {}}};
  };
  const std::vector<BlockChange> old{add(7), add(8)};
  const std::vector<BlockChange> fresh{add(1), add(2), {BlockMap::Kind::remove, 1, {}}};
  pair.state_a.observed(stream, {{5}, {0}, {1}, old, 3, {16}});
  pair.pass(100ms);
  CHECK(pair.state_b.present(stream) == 2);
  pair.state_a.observed(stream, {{9}, {0}, {1}, fresh, 4, {16}});
  pair.pass(100ms);
  CHECK(pair.state_b.position(stream) == pair.state_a.position(stream));
  CHECK(pair.b.counters().fetches == 0);
}

TEST_CASE("a stream is late only where no observer that reaches its engine hears it") {
  Pair pair(2);
  pair.pass(1s);
  const StreamKey stream = pair.keys.front();
  const auto heard = [&] {
    pair.pass(100ms);
    CHECK(pair.a.heard(stream) == pair.b.heard(stream));
    return pair.a.heard(stream);
  };
  CHECK(heard());
  SUBCASE("the second does") { pair.a.hears(stream, false, pair.now); }
  SUBCASE("the first does") { pair.b.hears(stream, false, pair.now); }
  CHECK(heard());
  pair.a.hears(stream, false, pair.now);
  pair.b.hears(stream, false, pair.now);
  CHECK_FALSE(heard());
  pair.b.hears(stream, true, pair.now);
  CHECK(heard());
  pair.b.reaches(stream, false, pair.now);
  CHECK_FALSE(heard());
}

TEST_CASE("a list that says what is not believed of a stream leaves what was said of it before") {
  Pair pair;
  const auto list = [&](std::uint64_t round, std::vector<KvHead> heads) {
    KvHeads all{.all = true, .round = round, .last = true, .heads = std::move(heads)};
    std::string message;
    write_section(all, message);
    pair.a.received(Pair::kB, message, pair.now);
  };
  const auto said_end = [&](std::size_t number) {
    return pair.a.said_by(Pair::kB, pair.keys[number])->end.value;
  };
  KvHead first{.stream = name_of(pair.keys[0]), .position = {.epoch = {5}, .end = {3}}};
  KvHead second{.stream = name_of(pair.keys[1]), .position = {.epoch = {5}, .end = {4}}};
  list(1, {first, second});
  CHECK(said_end(0) == 3);
  CHECK(said_end(1) == 4);
  first.position.epoch.value = kMostEpoch + 1;
  list(2, {first});
  CHECK(said_end(0) == 3);
  CHECK(said_end(1) == 0);
  CHECK(pair.a.counters().absurd == 1);
  list(3, {});
  CHECK(said_end(0) == 0);
}
