#include "crdt/feed.h"

#include <doctest/doctest.h>

#include <set>
#include <string>

#include "tests/crdt/feed_twin.h"
#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Delta = TestFeed::Delta;

// One writer's step; few keys and values, so that they meet.
void write(TestFeed& writer, FeedHistory& history, const std::array<std::uint8_t, 4>& bytes) {
  if (bytes[0] % 3 == 0) {
    history.erase(writer, bytes[1] % 4);
  } else {
    history.put(writer, bytes[1] % 4, bytes[2] % 3);
  }
}

void pull(TestFeed& replica, const TestFeed& source, std::size_t max_entries = kWhole) {
  replica.apply(source.delta_since(replica.version(), max_entries));
}

TEST_CASE("only a change issues a version") {
  TestFeed feed;
  CHECK(feed.put(1, 10));
  CHECK_FALSE(feed.put(1, 10));
  CHECK_FALSE(feed.erase(2));
  CHECK(feed.version() == Version{1});
  CHECK(feed.erase(1));
  CHECK_FALSE(feed.erase(1));
  CHECK(feed.version() == Version{2});
  CHECK(feed.size() == 0);
  CHECK(feed.find(1) == nullptr);
  CHECK(feed.put(1, 10));
  CHECK(feed.version() == Version{3});
}

TEST_CASE("a visitor is told the version that last set each live entry, on every replica") {
  TestFeed writer, replica;
  writer.put(1, 10);
  writer.put(2, 20);
  writer.put(1, 10);  // issues none
  pull(replica, writer);
  writer.erase(2);
  writer.put(3, 30);
  writer.put(2, 20);
  pull(replica, writer);
  for (const TestFeed* feed : {&writer, &replica}) {
    std::set<std::array<std::uint64_t, 3>> seen;
    feed->for_each_version([&](auto key, Version version, auto value) {
      seen.insert({std::uint64_t(key), version.value, std::uint64_t(value)});
    });
    CHECK(seen == std::set<std::array<std::uint64_t, 3>>{{1, 1, 10}, {2, 5, 20}, {3, 4, 30}});
  }
}

TEST_CASE("the writer's map and digest equal its history replayed") {
  CHECK(rc::check([](const Steps& steps) {
    TestFeed writer;
    FeedHistory history;
    for (const auto& bytes : steps) {
      write(writer, history, bytes);
      if (bytes[3] % 8 == 0) writer.collect(Version{bytes[3] / 8u});
      RC_ASSERT(live(writer) == history.live());
      RC_ASSERT(writer.size() == history.live().size());
      RC_ASSERT(writer.version().value == history.changes.size());
    }
    StateDigest expected;
    for (const auto& [key, last] : history.last_changes) {
      if (!last.value) continue;
      EntryHasher hasher;
      hash_entry(hasher, key, *last.value);
      expected.add(hasher.add(last.version).finish());
    }
    RC_ASSERT(writer.digest() == expected);
  }));
}

TEST_CASE("a delta holds just the keys changed since, once each, in version order") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t from_byte) {
    TestFeed writer;
    FeedHistory history;
    for (const auto& bytes : steps) write(writer, history, bytes);
    const Version from{from_byte % (history.changes.size() + 3)};
    std::map<std::uint64_t, std::uint64_t> expected;
    for (const auto& [key, last] : history.last_changes) {
      if (last.version > from.value) expected[last.version] = key;
    }
    const Delta delta = writer.delta_since(from, kWhole);
    RC_ASSERT(delta.from_excluded == std::min(from, writer.version()));
    RC_ASSERT(delta.to == writer.version());
    RC_ASSERT(delta.entries.size() == expected.size());
    std::size_t at = 0;
    for (auto [version, key] : expected) {
      const auto& entry = delta.entries[at++];
      RC_ASSERT(entry.key == key);
      RC_ASSERT(entry.version == Version{version});
      RC_ASSERT(entry.value == history.changes[version - 1].value);
    }
  }));
}

TEST_CASE(
    "any schedule of cut, repeated, lost and relayed deltas keeps the promise and converges") {
  CHECK(rc::check([](const Steps& steps) {
    TestFeed writer;
    FeedHistory history;
    std::array<TestFeed, 3> replicas;
    std::vector<Delta> sent;  // may arrive again, at anyone
    for (const auto& bytes : steps) {
      const std::size_t self = bytes[1] % 3;
      TestFeed& replica = replicas[self];
      const std::size_t limit = 1 + bytes[3] % 4;
      switch (bytes[0] % 8) {
        case 0:
        case 1:
        case 2:
          write(writer, history, {bytes[3], bytes[1], bytes[2], 0});
          break;
        case 3:
          writer.collect(Version{bytes[2] % (writer.version().value + 1)});
          break;
        case 4:
        case 5:
          sent.push_back(writer.delta_since(replica.version(), limit));
          if (bytes[2] % 3 != 0) replica.apply(sent.back());
          break;
        case 6:
          pull(replica, replicas[bytes[2] % 3], limit);
          break;
        case 7:
          if (!sent.empty()) replica.apply(sent[bytes[2] % sent.size()]);
          break;
      }
      RC_ASSERT(std::string(broken_promise(replica, history)) == "");
    }
    std::set<std::uint64_t> positions;
    for (TestFeed& replica : replicas) {
      positions.clear();
      while (replica.version() < writer.version()) {
        RC_ASSERT(positions.insert(replica.version().value).second);  // it always gets on
        pull(replica, writer, 2);
        RC_ASSERT(std::string(broken_promise(replica, history)) == "");
      }
      pull(replica, writer);  // the horizon may still be news
      RC_ASSERT(same_state(replica, writer));
    }
  }));
}

TEST_CASE("a refused delta, whatever is in it, leaves the state untouched") {
  CHECK(rc::check([](const Steps& steps, const Steps& noise, std::uint8_t from, std::uint8_t to,
                     std::uint8_t collected) {
    TestFeed writer, replica;
    FeedHistory history;
    for (const auto& bytes : steps) write(writer, history, bytes);
    writer.collect(Version{collected % 4u});
    pull(replica, writer, 3);
    Delta delta{Version{from % 8u}, Version{to % 16u}, Version{collected % 16u}, {}};
    for (const auto& [key, version, value, deleted] : noise) {
      delta.entries.push_back({key % 4u, Version{version % 16u}, value});
      if (deleted % 2 == 0) delta.entries.back().value.reset();
    }
    const TestFeed before = replica;
    const Applied outcome = replica.apply(delta);
    if (outcome == Applied::changed) {
      RC_ASSERT(replica.version() >= before.version());
      RC_ASSERT(replica.collected() >= before.collected());
      RC_ASSERT(replica.collected() <= replica.version());
      RC_ASSERT(replica.apply(delta) == Applied::duplicate);
    } else {
      RC_ASSERT(same_state(replica, before));
    }
  }));
}

TEST_CASE("digests of two moments of a writer are equal exactly when the live entries are") {
  CHECK(rc::check([](const Steps& first, const Steps& second) {
    TestFeed a;
    FeedHistory history;
    for (const auto& bytes : first) write(a, history, bytes);
    TestFeed b = a;
    FeedHistory later = history;
    for (const auto& bytes : second) write(b, later, bytes);
    auto versioned = [](const FeedHistory& h) {
      std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> result;
      for (const auto& [key, last] : h.last_changes) {
        if (last.value) result[key] = {last.version, *last.value};
      }
      return result;
    };
    RC_ASSERT((a.digest() == b.digest()) == (versioned(history) == versioned(later)));
  }));
}

TEST_CASE("akka 22188: a delta beyond a gap is refused, so no hole can act as a delete") {
  TestFeed writer, replica;
  writer.put(1, 10);
  pull(replica, writer);
  writer.put(2, 20);  // this one is lost
  const Version lost = writer.version();
  writer.erase(1);
  const Delta beyond = writer.delta_since(lost, kWhole);
  CHECK(replica.apply(beyond) == Applied::gap);
  CHECK(replica.version() == Version{1});
  CHECK(live(replica) == std::map<std::uint64_t, std::uint64_t>{{1, 10}});
  pull(replica, writer);
  CHECK(live(replica) == std::map<std::uint64_t, std::uint64_t>{{2, 20}});
}

TEST_CASE("a replica behind the horizon refuses a delta and starts afresh with a snapshot") {
  TestFeed writer, replica;
  writer.put(1, 10);
  writer.put(2, 20);
  pull(replica, writer);
  writer.erase(1);
  writer.put(3, 30);
  writer.collect(writer.version());
  CHECK(writer.collected() == Version{3});  // the last tombstone forgotten, no further

  Delta unsound = writer.delta_since(writer.collected(), kWhole);
  unsound.from_excluded = replica.version();  // as a sender would that forgot about the horizon
  CHECK(replica.apply(unsound) == Applied::below_horizon);
  CHECK(replica.find(1) != nullptr);

  const Delta snapshot = writer.delta_since(replica.version(), kWhole);
  CHECK(snapshot.is_snapshot());
  CHECK(replica.apply(snapshot) == Applied::changed);
  CHECK(live(replica) == std::map<std::uint64_t, std::uint64_t>{{2, 20}, {3, 30}});
}

TEST_CASE("collecting where nothing was deleted sends nobody back to a snapshot") {
  TestFeed writer;
  for (std::uint64_t key = 0; key < 10; ++key) writer.put(key, key);
  writer.collect(writer.version());
  CHECK(writer.collected() == Version{});
  CHECK_FALSE(writer.delta_since(Version{4}, kWhole).is_snapshot());
}

TEST_CASE("a snapshot cut short goes on as deltas and is never taken for one below the horizon") {
  TestFeed writer, replica;
  writer.put(100, 1);
  writer.put(101, 1);
  writer.erase(100);
  writer.collect(writer.version());
  for (std::uint64_t key = 0; key < 10; ++key) writer.put(key, key);

  Delta piece = writer.delta_since({}, 4);
  CHECK(piece.is_snapshot());
  CHECK(piece.entries.size() == 4);
  CHECK(piece.collected == Version{3});
  REQUIRE(replica.apply(piece) == Applied::changed);
  int pieces = 1;
  while (replica.version() < writer.version()) {
    piece = writer.delta_since(replica.version(), 4);
    CHECK_FALSE(piece.is_snapshot());
    REQUIRE(replica.apply(piece) == Applied::changed);
    ++pieces;
  }
  CHECK(pieces == 3);  // 11 live keys, 4 at a time
  CHECK(same_state(replica, writer));
}

TEST_CASE("a snapshot is not cut below the horizon, or its receiver would be sent it for ever") {
  TestFeed writer, replica;
  for (std::uint64_t key = 0; key < 10; ++key) writer.put(key, key);
  writer.erase(0);
  writer.collect(writer.version());
  const Delta snapshot = writer.delta_since({}, 4);
  CHECK(snapshot.entries.size() == 9);
  CHECK(snapshot.to == writer.version());
  pull(replica, writer, 4);
  CHECK(same_state(replica, writer));
}

TEST_CASE("what was already known is a duplicate; a risen horizon alone is news") {
  TestFeed writer, replica;
  writer.put(1, 10);
  writer.erase(1);
  const Delta whole = writer.delta_since({}, kWhole);
  CHECK(replica.apply(whole) == Applied::changed);
  CHECK(replica.apply(whole) == Applied::duplicate);
  writer.collect(writer.version());
  const Delta horizon = writer.delta_since(replica.version(), kWhole);
  CHECK(horizon.entries.empty());
  CHECK(replica.apply(horizon) == Applied::changed);
  CHECK(replica.collected() == Version{2});
  CHECK(replica.delta_since({}, kWhole).entries.empty());  // its tombstone is gone
  CHECK(replica.apply(horizon) == Applied::duplicate);
}

TEST_CASE("malformed deltas are named so") {
  TestFeed replica;
  auto outcome = [&](std::uint64_t from, std::uint64_t to, std::uint64_t collected,
                     std::vector<std::uint64_t> versions) {
    Delta delta{Version{from}, Version{to}, Version{collected}, {}};
    for (std::uint64_t version : versions) delta.entries.push_back({version, Version{version}, 1});
    return replica.apply(delta);
  };
  CHECK(outcome(0, 3, 0, {2, 1}) == Applied::malformed);  // falling
  CHECK(outcome(0, 3, 0, {2, 2}) == Applied::malformed);  // not rising
  CHECK(outcome(0, 3, 0, {0}) == Applied::malformed);     // at its exclusive start
  CHECK(outcome(0, 3, 0, {4}) == Applied::malformed);     // past its end
  CHECK(outcome(3, 2, 0, {}) == Applied::malformed);      // ends before it starts
  CHECK(outcome(0, 3, 4, {}) == Applied::malformed);      // horizon past its end
  CHECK(replica.version() == Version{});
  CHECK(outcome(0, 3, 0, {1, 3}) == Applied::changed);
}

TEST_CASE("a slow peer costs state, not time: a thousand changes of one key are one entry") {
  TestFeed writer;
  for (std::uint64_t i = 1; i <= 1'000; ++i) writer.put(7, i);
  const Delta delta = writer.delta_since({}, kWhole);
  REQUIRE(delta.entries.size() == 1);
  CHECK(delta.entries[0].value == 1'000);
  CHECK(delta.to == Version{1'000});
}

TEST_CASE("a copy made of cut deltas is partial, and so is what is copied from it") {
  using Numbers = Feed<std::uint64_t, std::uint64_t>;
  Numbers writer, replica, second;
  for (std::uint64_t key = 1; key <= 5; ++key) writer.put(key, key);
  const Version at_five = writer.version();
  const StateDigest digest_at_five = writer.digest();
  writer.put(4, 40);
  writer.put(5, 50);
  // Three entries fit: versions 1 to 3; 4 and 5 were changed again, so the delta ends at 5.
  const auto cut = writer.delta_since(Version{}, 3);
  REQUIRE(cut.to == at_five);
  CHECK(cut.cut);
  CHECK(replica.apply(cut) == Applied::changed);
  CHECK(replica.partial());
  CHECK(replica.version() == at_five);
  CHECK_FALSE(replica.digest() == digest_at_five);
  CHECK(second.apply(replica.delta_since(Version{}, 100)) == Applied::changed);
  CHECK(second.partial());
  CHECK(replica.apply(writer.delta_since(replica.version(), 100)) == Applied::changed);
  CHECK_FALSE(replica.partial());
  CHECK(replica.digest() == writer.digest());
  CHECK(replica.apply(cut) == Applied::duplicate);
  CHECK_FALSE(replica.partial());
}

}  // namespace
}  // namespace dualmesh::crdt
