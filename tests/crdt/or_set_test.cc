#include "crdt/or_set.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/crdt/delivery_orders.h"
#include "tests/crdt/laws.h"
#include "tests/crdt/or_twin.h"

namespace dualmesh::crdt {
namespace {

struct Pair {  // the optimised set and its twin, changed in lock step
  Letters set;
  OrTwin twin;
  std::uint64_t issued = 0;

  Pair add(std::uint64_t self, char element) {
    Pair delta;
    const Dot dot{replica(self), Version{++issued}};
    delta.set = set.add(replica(self), element);
    delta.twin = twin.take([&](const Dot&, const auto& a) { return a.element == element; });
    delta.twin.join(twin.add(dot, {0, element, 0}));
    return delta;
  }
  Pair remove(char element) {
    Pair delta;
    delta.set = set.remove(element);
    delta.twin = twin.take([&](const Dot&, const auto& a) { return a.element == element; });
    return delta;
  }
  Pair clear() {
    Pair delta;
    delta.set = set.clear();
    delta.twin = twin.take([](auto&&...) { return true; });
    return delta;
  }
  void join(const Pair& other) {
    set.join(other.set);
    twin.join(other.twin);
  }
  std::string text() const {
    std::string result;
    set.for_each([&](char element) { result += element; });
    return result;
  }
  std::string twin_text() const {
    std::set<char> elements;
    for (const auto& [dot, addition] : twin.present()) elements.insert(addition.element);
    return std::string(elements.begin(), elements.end());
  }
};

void run(const Steps& steps, std::array<Pair, 3>& replicas, std::vector<Pair>& deltas) {
  for (const auto& bytes : steps) {
    const std::uint64_t self = bytes[0] % 3;
    Pair& one = replicas[self];
    const char element = static_cast<char>('a' + bytes[2] % 3);
    switch (bytes[1] % 6) {
      case 0:
      case 1:
        deltas.push_back(one.add(self, element));
        break;
      case 2:
        deltas.push_back(one.remove(element));
        break;
      case 3:
        if (bytes[2] % 4 == 0) deltas.push_back(one.clear());
        break;
      case 4:  // any delta, in any order, as often as it comes
        if (!deltas.empty()) one.join(deltas[bytes[2] % deltas.size()]);
        break;
      case 5: {  // a whole state
        const Pair other = replicas[bytes[2] % 3];
        one.join(other);
        break;
      }
    }
    RC_ASSERT(one.text() == one.twin_text());
    RC_ASSERT(one.set.contains(element) == (one.text().find(element) != std::string::npos));
    RC_ASSERT(one.set.size() == one.text().size());
  }
}

TEST_CASE("OrSet equals its naive twin after every step, and obeys the laws") {
  CHECK(rc::check([](const Steps& steps) {
    std::array<Pair, 3> replicas;
    std::vector<Pair> deltas;
    run(steps, replicas, deltas);
    const Letters &a = replicas[0].set, &b = replicas[1].set, &c = replicas[2].set;
    assert_lattice_laws(a, b, c);
    RC_ASSERT((hash_of_state(a) == hash_of_state(b)) == (a == b));

    // Deltas alone, newest first and joined into each other in twos, make the same state.
    Letters by_deltas;
    for (std::size_t i = deltas.size(); i > 0; --i) {
      by_deltas.join(joined(deltas[i - 1].set, deltas[i / 2].set));
    }
    RC_ASSERT(by_deltas == joined(joined(a, b), c));
    RC_ASSERT(by_deltas.state().context.cloud().empty());  // nothing missing, nothing kept
  }));
}

TEST_CASE("an add wins over a removal that did not see it") {
  Letters a, b;
  b.join(a.add(replica(1), 'x'));
  const Letters removal = b.remove('x');
  const Letters again = a.add(replica(1), 'x');
  a.join(removal);
  b.join(again);
  CHECK(a.contains('x'));
  CHECK(a == b);
}

TEST_CASE("riak_dt 82: on both sides, and yet removed: each side had removed the other's dot") {
  Letters a, b, c;
  a.add(replica(1), 'x');
  b.add(replica(2), 'x');
  c.join(a);
  a.remove('x');
  c.join(b);  // c holds both dots
  b.remove('x');
  a.join(c);  // only b's dot is new to a
  CHECK(a.contains('x'));
  b.join(a);  // b has removed its own, and a its own
  CHECK_FALSE(b.contains('x'));

  // As reported: merge(b, merge(a, c)) where c = a's add alone, then b's.
  Letters first, second, third;
  first.add(replica(1), 'x');
  second.add(replica(2), 'x');
  third.join(first);
  first.remove('x');
  first.join(second);  // has seen both, keeps the second's
  second.remove('x');
  CHECK_FALSE(joined(second, joined(first, third)).contains('x'));
  CHECK_FALSE(joined(joined(second, first), third).contains('x'));
}

TEST_CASE("riak_dt 78: equal contexts do not make equal sets: neither side is taken whole") {
  Letters a, b;
  b.join(a.add(replica(1), 'x'));
  const CausalContext before = a.state().context;
  a.remove('x');
  CHECK(a.state().context == before);  // a removal issues no dot
  CHECK_FALSE(joined(a, b).contains('x'));
  CHECK_FALSE(joined(b, a).contains('x'));
}

TEST_CASE("akka 22188: deltas out of order leave gaps, and gaps delete nothing") {
  Letters writer;
  const Letters x = writer.add(replica(1), 'x');
  const Letters y = writer.add(replica(1), 'y');
  const Letters z = writer.add(replica(1), 'z');
  Letters behind, ahead;
  behind.join(x);
  behind.join(y);
  ahead.join(x);
  ahead.join(z);  // over a gap
  CHECK(joined(ahead, behind).size() == 3);
  CHECK(joined(behind, ahead) == writer);
}

TEST_CASE("a removal that arrives before what it removes still removes it") {
  Letters writer, reader;
  const Letters addition = writer.add(replica(1), 'x');
  reader.join(writer.remove('x'));
  reader.join(addition);
  CHECK_FALSE(reader.contains('x'));
  CHECK(reader == writer);
}

TEST_CASE("a new life of a node issues dots of its own: riak_kv 814, skewed dots") {
  const Origin first{NodeId{1}, Epoch{10}}, second{NodeId{1}, Epoch{11}};
  Letters before, after;
  before.add(first, 'x');  // lost in the crash, but another replica heard it
  after.add(second, 'y');  // the restarted node, with empty hands
  CHECK(joined(before, after).size() == 2);
  CHECK(joined(after, before).size() == 2);
}

TEST_CASE("a set that comes and goes keeps no trace but its context") {
  Letters set;
  for (int i = 0; i < 1'000; ++i) {
    set.add(replica(1), 'x');
    set.remove('x');
  }
  CHECK(set.size() == 0);
  CHECK(set.state().context.vector().entries().size() == 1);
  CHECK(set.state().context.cloud().empty());
}

// Every small history: 4 operations on two writing replicas, each of which may or may not have
// heard the operation before it; and a reader that gets every order of the deltas with one doubled
// and one lost.
struct SetScope {
  std::vector<Pair> deltas;
  std::array<Pair, 2> writers;

  explicit SetScope(int code) {
    deltas.push_back(writers[0].add(0, 'x'));  // the others are this one with names exchanged
    for (int i = 1; i < 4; ++i, code /= 12) {
      const std::uint64_t self = code % 2;
      if (code / 2 % 2 == 1) writers[self].join(deltas.back());
      const int kind = code / 4 % 3;
      deltas.push_back(kind == 0   ? writers[self].add(self, 'x')
                       : kind == 1 ? writers[self].add(self, 'y')
                                   : writers[self].remove('x'));
    }
  }
};

bool deliver(const SetScope& scope, const std::vector<int>& order) {
  Pair reader;
  for (int index : order) {
    reader.join(scope.deltas[index]);
    if (reader.text() != reader.twin_text()) return false;
  }
  reader.join(scope.writers[1]);
  reader.join(scope.writers[0]);
  Pair all = scope.writers[0];
  all.join(scope.writers[1]);
  return reader.text() == all.twin_text() && reader.set == all.set;
}

TEST_CASE("every small history of an OrSet under every delivery order converges to the truth") {
  constexpr int kHistories = 12 * 12 * 12;
  std::uint64_t runs = 0;
  for (int code = 0; code < kHistories; ++code) {
    const SetScope scope(code);
    for_each_delivery_order([&](const std::vector<int>& order) {
      ++runs;
      if (!deliver(scope, order)) {
        CAPTURE(code);
        CAPTURE(order);
        FAIL("the reader went wrong");
      }
    });
  }
  // Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(runs == kHistories * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
