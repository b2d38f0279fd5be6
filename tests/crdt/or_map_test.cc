#include "crdt/or_map.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tests/crdt/delivery_orders.h"
#include "tests/crdt/laws.h"
#include "tests/crdt/or_twin.h"

namespace dualmesh::crdt {
namespace {

using Contents = std::map<int, std::pair<std::set<char>, std::int64_t>>;

// A map of sets and a map of counters with one twin each, changed in lock step.
struct Both {
  WordMap words;
  CountMap counts;
  OrTwin words_twin, counts_twin;
  std::uint64_t words_issued = 0, counts_issued = 0;

  Both add(std::uint64_t self, int key, char element) {
    Both delta;
    const Origin origin = replica(self);
    delta.words = words.update(key, [&](const auto& store, const auto& context) {
      return Letters::added(store, context, origin, element);
    });
    delta.words_twin = words_twin.take(
        [&](const Dot&, const auto& a) { return a.key == key && a.element == element; });
    delta.words_twin.join(words_twin.add({origin, Version{++words_issued}}, {key, element, 0}));

    std::int64_t total = element;
    delta.counts_twin = counts_twin.take([&](const Dot& dot, const auto& a) {
      if (a.key != key || dot.origin != origin) return false;
      total += a.amount;
      return true;
    });
    delta.counts = counts.update(key, [&](const auto& store, const auto& context) {
      return RemovableCounter::added(store, context, origin, element);
    });
    delta.counts_twin.join(counts_twin.add({origin, Version{++counts_issued}}, {key, 0, total}));
    return delta;
  }
  Both remove_element(int key, char element) {
    Both delta;
    delta.words = words.update(
        key, [&](const auto& store, const auto&) { return Letters::removed(store, element); });
    delta.words_twin = words_twin.take(
        [&](const Dot&, const auto& a) { return a.key == key && a.element == element; });
    return delta;
  }
  Both remove(int key) {
    const auto matches = [&](const Dot&, const auto& a) { return a.key == key; };
    Both delta;
    delta.words = words.remove(key);
    delta.counts = counts.remove(key);
    delta.words_twin = words_twin.take(matches);
    delta.counts_twin = counts_twin.take(matches);
    return delta;
  }
  void join(const Both& other) {
    words.join(other.words);
    counts.join(other.counts);
    words_twin.join(other.words_twin);
    counts_twin.join(other.counts_twin);
  }

  Contents contents() const {
    Contents found;
    for (const auto& [key, set] : words.state().store.entries()) {
      for (const auto& entry : set.entries()) found[key].first.insert(entry.first);
    }
    for (const auto& [key, counter] : counts.state().store.entries()) {
      found[key].second = RemovableCounter::value(counter);
    }
    return found;
  }
  Contents twin_contents() const {
    Contents found;
    for (const auto& [dot, a] : words_twin.present()) found[a.key].first.insert(a.element);
    for (const auto& [dot, a] : counts_twin.present()) found[a.key].second += a.amount;
    return found;
  }
};

TEST_CASE("OrMap of sets and of counters equals its naive twin after every step, with the laws") {
  CHECK(rc::check([](const Steps& steps) {
    std::array<Both, 3> replicas;
    std::vector<Both> deltas;
    for (const auto& bytes : steps) {
      const std::uint64_t self = bytes[0] % 3;
      Both& one = replicas[self];
      const int key = bytes[2] % 3;
      const char element = static_cast<char>('a' + bytes[3] % 2);
      switch (bytes[1] % 6) {
        case 0:
        case 1:
          deltas.push_back(one.add(self, key, element));
          break;
        case 2:
          deltas.push_back(one.remove(key));
          break;
        case 3:
          deltas.push_back(one.remove_element(key, element));
          break;
        case 4:
          if (!deltas.empty()) one.join(deltas[bytes[2] % deltas.size()]);
          break;
        case 5: {
          const Both other = replicas[bytes[2] % 3];
          one.join(other);
          break;
        }
      }
      RC_ASSERT(one.contents() == one.twin_contents());
    }
    assert_lattice_laws(replicas[0].words, replicas[1].words, replicas[2].words);
    assert_lattice_laws(replicas[0].counts, replicas[1].counts, replicas[2].counts);
    RC_ASSERT((hash_of_state(replicas[0].counts) == hash_of_state(replicas[1].counts)) ==
              (replicas[0].counts == replicas[1].counts));
    RC_ASSERT((hash_of_state(replicas[0].words) == hash_of_state(replicas[1].words)) ==
              (replicas[0].words == replicas[1].words));

    Both by_deltas;
    for (auto delta = deltas.rbegin(); delta != deltas.rend(); ++delta) by_deltas.join(*delta);
    Both by_states = replicas[0];
    by_states.join(replicas[1]);
    by_states.join(replicas[2]);
    RC_ASSERT(by_deltas.words == by_states.words);
    RC_ASSERT(by_deltas.counts == by_states.counts);
  }));
}

CountMap add(CountMap& map, std::uint64_t self, int key, std::int64_t amount) {
  return map.update(key, [&](const auto& store, const auto& context) {
    return RemovableCounter::added(store, context, replica(self), amount);
  });
}

std::int64_t count(const CountMap& map, int key) {
  const auto* store = map.find(key);
  return store == nullptr ? -1 : RemovableCounter::value(*store);
}

TEST_CASE(
    "riak_dt_emcntr: a counter removed and added again does not meet its older, larger self") {
  CountMap a, b;
  add(a, 1, 7, 100);
  b.join(a);  // b keeps the old 100
  a.remove(7);
  CHECK(a.find(7) == nullptr);
  add(a, 1, 7, 3);
  CHECK(count(a, 7) == 3);
  a.join(b);
  CHECK(count(a, 7) == 3);
  b.join(a);
  CHECK(count(b, 7) == 3);
  CHECK(a == b);
}

TEST_CASE("an addition that did not see the removal keeps its writer's part, no one else's") {
  CountMap a, b;
  add(a, 1, 7, 5);
  b.join(a);
  add(b, 2, 7, 10);
  a.join(b);
  const CountMap removal = a.remove(7);
  const CountMap addition = add(b, 2, 7, 1);
  b.join(removal);
  a.join(addition);
  CHECK(count(a, 7) == 11);  // 10 and 1 of the second; the first's 5 were seen and removed
  CHECK(a == b);
}

TEST_CASE("a counter at zero is there, an absent one is not") {
  CountMap map;
  add(map, 1, 7, 5);
  add(map, 1, 7, -5);
  CHECK(count(map, 7) == 0);
  CHECK(map.size() == 1);
  map.remove(7);
  CHECK(map.size() == 0);
}

TEST_CASE("a map in a map: keys of the inner one come and go under one context") {
  using Outer = OrMap<int, WordMap>;
  Outer a, b;
  const auto put = [](Outer& map, std::uint64_t self, int outer, int inner, char element) {
    return map.update(outer, [&](const auto& words, const auto& context) {
      return WordMap::updated(words, context, inner, [&](const auto& set, const auto& seen) {
        return Letters::added(set, seen, replica(self), element);
      });
    });
  };
  b.join(put(a, 1, 1, 1, 'x'));
  const Outer gone = b.remove(1);            // sees x only
  const Outer other = put(a, 1, 1, 2, 'y');  // at the same time
  a.join(gone);
  b.join(other);
  CHECK(a == b);
  REQUIRE(a.find(1) != nullptr);
  CHECK(a.find(1)->find(1) == nullptr);
  CHECK(a.find(1)->find(2) != nullptr);
  CHECK(a.state().context.cloud().empty());
}

// A small scope as for the set (or_set_test.cc): counters under removal, every delivery order.
struct MapScope {
  std::vector<Both> deltas;
  std::array<Both, 2> writers;

  explicit MapScope(int code) {
    deltas.push_back(writers[0].add(0, 1, 'x'));
    for (int i = 1; i < 4; ++i, code /= 12) {
      const std::uint64_t self = code % 2;
      if (code / 2 % 2 == 1) writers[self].join(deltas.back());
      const int kind = code / 4 % 3;
      deltas.push_back(kind == 0   ? writers[self].add(self, 1, 'x')
                       : kind == 1 ? writers[self].remove(1)
                                   : writers[self].remove_element(1, 'x'));
    }
  }
};

TEST_CASE("every small history of an OrMap under every delivery order converges to the truth") {
  constexpr int kHistories = 12 * 12 * 12;
  std::uint64_t runs = 0, wrong = 0;
  for (int code = 0; code < kHistories; ++code) {
    const MapScope scope(code);
    Both all = scope.writers[0];
    all.join(scope.writers[1]);
    for_each_delivery_order([&](const std::vector<int>& order) {
      ++runs;
      Both reader;
      for (int index : order) reader.join(scope.deltas[index]);
      wrong += reader.contents() != reader.twin_contents();
      reader.join(scope.writers[1]);
      reader.join(scope.writers[0]);
      wrong += reader.words != all.words || reader.counts != all.counts;
      wrong += reader.contents() != all.twin_contents();
    });
  }
  CHECK(wrong == 0);
  // Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(runs == kHistories * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
