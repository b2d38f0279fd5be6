#include "crdt/window_feed.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "tests/crdt/laws.h"
#include "tests/crdt/whole_deltas.h"

namespace dualmesh::crdt {
namespace {

using Placement = std::pair<std::uint64_t, std::uint64_t>;  // (instance, block)
using Window = WindowFeed<Placement>;
using Delta = Window::Delta;

Placement placement(std::uint8_t byte) { return {byte % 2, byte / 2 % 3}; }

std::vector<std::pair<std::uint64_t, Placement>> contents(const Window& window) {
  std::vector<std::pair<std::uint64_t, Placement>> result;
  window.for_each([&](const Placement& key, Version v) { result.emplace_back(v.value, key); });
  return result;
}

bool same_state(const Window& a, const Window& b) {
  return contents(a) == contents(b) && a.version() == b.version() && a.floor() == b.floor() &&
         a.size() == b.size() && a.digest() == b.digest();
}

// The naive twin: all touches; what is held is what was last touched in (floor, version].
struct History {
  std::vector<Placement> touches;  // touch i has version i + 1

  std::map<Placement, std::uint64_t> last_touches() const {
    std::map<Placement, std::uint64_t> result;
    for (std::size_t i = 0; i < touches.size(); ++i) result[touches[i]] = i + 1;
    return result;
  }
  std::vector<std::pair<std::uint64_t, Placement>> held(Version floor, Version version) const {
    std::vector<std::pair<std::uint64_t, Placement>> result;
    for (std::uint64_t v = floor.value + 1; v <= version.value; ++v) {
      if (last_touches().at(touches[v - 1]) == v) result.emplace_back(v, touches[v - 1]);
    }
    return result;
  }
};

TEST_CASE("the writer holds exactly what was last touched above the floor, in touch order") {
  CHECK(rc::check([](const Steps& steps) {
    Window writer;
    History history;
    Version floor;
    for (auto [kind, key, through, unused] : steps) {
      if (kind % 4 == 0) {
        const Version at{through % (writer.version().value + 2)};
        writer.expire(at);
        floor = std::max(floor, std::min(at, writer.version()));
      } else {
        history.touches.push_back(placement(key));
        RC_ASSERT(writer.touch(placement(key)).value == history.touches.size());
      }
      const auto expected = history.held(floor, writer.version());
      RC_ASSERT(writer.floor() == floor);
      RC_ASSERT(contents(writer) == expected);
      RC_ASSERT(writer.size() == expected.size());
      for (std::uint8_t byte = 0; byte < 6; ++byte) {
        const auto has = [&](const auto& e) { return e.second == placement(byte); };
        RC_ASSERT(writer.contains(placement(byte)) ==
                  std::any_of(expected.begin(), expected.end(), has));
      }
      StateDigest digest;
      for (const auto& [version, held] : expected) {
        EntryHasher hasher;
        hash_entry(hasher, held, version);
        digest.add(hasher.finish());
      }
      RC_ASSERT(writer.digest() == digest);
    }
  }));
}

// A replica and what its callbacks have told.
struct Listener {
  Window window;
  std::set<Placement> told;

  Applied apply(const Delta& delta) {
    return window.apply(
        delta, [this](const Placement& key) { RC_ASSERT(told.insert(key).second); },
        [this](const Placement& key) { RC_ASSERT(told.erase(key) == 1u); });
  }
  void check(const History& history) const {
    std::set<Placement> held;
    window.for_each([&](const Placement& key, Version) { held.insert(key); });
    RC_ASSERT(told == held);
    // Whatever was last touched in (floor, version] is held; nothing at or below the floor is.
    for (const auto& [version, key] : history.held(window.floor(), window.version())) {
      RC_ASSERT(held.contains(key));
    }
    window.for_each([&](const Placement& key, Version version) {
      RC_ASSERT(version > window.floor());
      RC_ASSERT(version <= window.version());
      RC_ASSERT(history.touches[version.value - 1] == key);
    });
  }
};

TEST_CASE(
    "any schedule of cut, repeated, lost and relayed deltas converges; callbacks tell it all") {
  CHECK(rc::check([](const Steps& steps) {
    Window writer;
    History history;
    std::array<Listener, 2> replicas;
    std::vector<Delta> sent;
    for (auto [kind, key, choice, limit] : steps) {
      Listener& replica = replicas[choice % 2];
      switch (kind % 8) {
        case 0:
        case 1:
        case 2:
          history.touches.push_back(placement(key));
          writer.touch(placement(key));
          break;
        case 3:
          writer.expire(Version{key % (writer.version().value + 1)});
          break;
        case 4:
        case 5:
          sent.push_back(writer.delta_since(replica.window.version(), 1 + limit % 3));
          if (key % 3 != 0) replica.apply(sent.back());
          break;
        case 6:
          replica.apply(replicas[key % 2].window.delta_since(replica.window.version(), kAll));
          break;
        case 7:
          if (!sent.empty()) replica.apply(sent[key % sent.size()]);
          break;
      }
      replica.check(history);
    }
    for (Listener& replica : replicas) {
      while (replica.window.version() < writer.version()) {
        const Version before = replica.window.version();
        replica.apply(writer.delta_since(before, 2));
        RC_ASSERT(replica.window.version() > before);  // it always gets on
        replica.check(history);
      }
      replica.apply(writer.delta_since(replica.window.version(), kAll));
      RC_ASSERT(same_state(replica.window, writer));
    }
  }));
}

TEST_CASE("a refused delta, whatever is in it, leaves the state untouched") {
  CHECK(rc::check([](const Steps& steps, const Steps& noise, std::uint8_t from, std::uint8_t to,
                     std::uint8_t floor) {
    Window writer, replica;
    for (const auto& bytes : steps) writer.touch(placement(bytes[0]));
    replica.apply(writer.delta_since({}, 3), ignore, ignore);
    Delta delta{Version{from % 8u}, Version{to % 16u}, Version{floor % 16u}, {}};
    for (const auto& bytes : noise) {
      delta.entries.push_back({placement(bytes[0]), Version{bytes[1] % 16u}});
    }
    const Window before = replica;
    bool told = false;
    auto tell = [&](const Placement&) { told = true; };
    if (replica.apply(delta, tell, tell) == Applied::changed) {
      RC_ASSERT(replica.version() >= before.version());
      RC_ASSERT(replica.floor() >= before.floor());
      RC_ASSERT(replica.floor() <= replica.version());
      RC_ASSERT(replica.apply(delta, ignore, ignore) == Applied::duplicate);
    } else {
      RC_ASSERT(same_state(replica, before));
      RC_ASSERT(!told);
    }
  }));
}

TEST_CASE("a delta beyond a gap is refused") {
  Window writer, replica;
  writer.touch({1, 1});
  writer.touch({1, 2});
  CHECK(replica.apply(writer.delta_since(Version{1}, kAll), ignore, ignore) == Applied::gap);
  CHECK(replica.size() == 0);
}

TEST_CASE("expiry travels as one number and needs no entries") {
  Window writer, replica;
  for (std::uint64_t block = 0; block < 100; ++block) writer.touch({1, block});
  replica.apply(writer.delta_since({}, kAll), ignore, ignore);
  writer.expire(Version{60});
  const Delta delta = writer.delta_since(replica.version(), kAll);
  CHECK(delta.entries.empty());
  std::vector<std::uint64_t> expired;
  CHECK(replica.apply(delta, ignore, [&](const Placement& key) {
    expired.push_back(key.second);
  }) == Applied::changed);
  CHECK(expired.size() == 60);
  CHECK(std::is_sorted(expired.begin(), expired.end()));  // oldest first
  CHECK(replica.apply(delta, ignore, ignore) == Applied::duplicate);
  CHECK(same_state(replica, writer));
}

TEST_CASE("a replica far behind the floor catches up without a reset") {
  Window writer, replica;
  writer.touch({1, 1});
  replica.apply(writer.delta_since({}, kAll), ignore, ignore);
  for (std::uint64_t block = 2; block < 50; ++block) writer.touch({1, block});
  writer.expire(Version{40});
  const Delta delta = writer.delta_since(replica.version(), kAll);
  CHECK(delta.from_excluded == Version{1});
  CHECK(replica.apply(delta, ignore, ignore) == Applied::changed);
  CHECK(same_state(replica, writer));
}

TEST_CASE("a key touched again above the new floor stays without leaving in between") {
  Window writer, replica;
  writer.touch({1, 1});
  writer.touch({1, 2});
  replica.apply(writer.delta_since({}, kAll), ignore, ignore);
  writer.touch({1, 1});
  writer.expire(Version{2});
  std::vector<Placement> added, expired;
  replica.apply(
      writer.delta_since(replica.version(), kAll), [&](const Placement& k) { added.push_back(k); },
      [&](const Placement& k) { expired.push_back(k); });
  CHECK(added.empty());
  CHECK(expired == std::vector<Placement>{{1, 2}});
}

TEST_CASE("malformed deltas are named so") {
  Window replica;
  auto outcome = [&](std::uint64_t from, std::uint64_t to, std::uint64_t floor,
                     std::vector<std::uint64_t> versions) {
    Delta delta{Version{from}, Version{to}, Version{floor}, {}};
    for (std::uint64_t version : versions)
      delta.entries.push_back({{1, version}, Version{version}});
    return replica.apply(delta, ignore, ignore);
  };
  CHECK(outcome(0, 3, 0, {2, 1}) == Applied::malformed);  // falling
  CHECK(outcome(0, 3, 0, {0}) == Applied::malformed);     // at its exclusive start
  CHECK(outcome(0, 3, 0, {4}) == Applied::malformed);     // past its end
  CHECK(outcome(3, 2, 0, {}) == Applied::malformed);      // ends before it starts
  CHECK(outcome(0, 3, 4, {}) == Applied::malformed);      // floor past its end
  CHECK(outcome(0, 3, 1, {1, 3}) == Applied::changed);
  CHECK(replica.size() == 1);
}

}  // namespace
}  // namespace dualmesh::crdt
