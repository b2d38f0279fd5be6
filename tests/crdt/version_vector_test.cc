#include "crdt/version_vector.h"

#include <doctest/doctest.h>

#include <limits>
#include <map>
#include <set>

#include "crdt/causal_context.h"
#include "crdt/g_counter.h"
#include "crdt/pn_counter.h"
#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

Origin origin_of(std::uint64_t number) { return Origin{NodeId{number}, Epoch{1}}; }

Dot dot(const std::array<std::uint8_t, 4>& bytes) {
  return Dot{{NodeId{bytes[0] % 2u}, Epoch{1u + bytes[1] % 2u}}, Version{1u + bytes[2] % 6u}};
}

VersionVector vector_of(const Steps& steps) {
  VersionVector vector;
  for (const auto& bytes : steps) vector.raise(dot(bytes).origin, dot(bytes).version);
  return vector;
}

TEST_CASE("version vectors are a semilattice") {
  CHECK(rc::check([](const Steps& x, const Steps& y, const Steps& z) {
    assert_lattice_laws(vector_of(x), vector_of(y), vector_of(z));
  }));
}

TEST_CASE("version vectors compare as the sets of dots they stand for") {
  CHECK(rc::check([](const Steps& x, const Steps& y) {
    const VersionVector a = vector_of(x), b = vector_of(y);
    bool a_has_more = false, b_has_more = false;
    for (std::uint8_t node = 0; node < 2; ++node) {
      for (std::uint8_t epoch = 0; epoch < 2; ++epoch) {
        for (std::uint8_t version = 0; version < 6; ++version) {
          const Dot d = dot({node, epoch, version, 0});
          a_has_more |= a.contains(d) && !b.contains(d);
          b_has_more |= b.contains(d) && !a.contains(d);
        }
      }
    }
    const Causality expected = a_has_more ? (b_has_more ? Causality::concurrent : Causality::after)
                                          : (b_has_more ? Causality::before : Causality::equal);
    RC_ASSERT(a.compare(b) == expected);
    RC_ASSERT((a == b) == (expected == Causality::equal));
  }));
}

CausalContext context_of(const Steps& steps) {
  CausalContext context;
  for (const auto& bytes : steps) context.insert(dot(bytes));
  return context;
}

TEST_CASE("causal contexts are a semilattice and equal the naive set of dots") {
  CHECK(rc::check([](const Steps& x, const Steps& y, const Steps& z) {
    const CausalContext a = context_of(x), b = context_of(y), c = context_of(z);
    assert_lattice_laws(a, b, c);
    std::set<Dot> twin;
    for (const auto* steps : {&x, &y}) {
      for (const auto& bytes : *steps) twin.insert(dot(bytes));
    }
    const CausalContext both = joined(a, b);
    for (int code = 0; code < 24; ++code) {
      const Dot d = dot({std::uint8_t(code), std::uint8_t(code / 2), std::uint8_t(code / 4), 0});
      RC_ASSERT(both.contains(d) == twin.contains(d));
    }
    // One set, one representation, in whatever order it came together.
    CausalContext again;
    for (auto d = twin.rbegin(); d != twin.rend(); ++d) RC_ASSERT(again.insert(*d));
    RC_ASSERT(again == both);
    RC_ASSERT(hash_of_state(again) == hash_of_state(both));
    RC_ASSERT((hash_of_state(a) == hash_of_state(b)) == (a == b));
    for (const Dot& d : both.cloud()) RC_ASSERT(d.version > both.vector().of(d.origin).next());
  }));
}

TEST_CASE("a gap stays a gap until it closes, and then costs nothing") {
  CausalContext context;
  CHECK(context.insert(Dot{origin_of(1), Version{3}}));
  CHECK(context.insert(Dot{origin_of(1), Version{2}}));
  CHECK_FALSE(context.contains(Dot{origin_of(1), Version{1}}));
  CHECK(context.cloud().size() == 2);
  CHECK(context.insert(Dot{origin_of(1), Version{1}}));
  CHECK_FALSE(context.insert(Dot{origin_of(1), Version{2}}));
  CHECK(context.cloud().empty());
  CHECK(context.vector().of(origin_of(1)) == Version{3});
  CHECK(context.next(origin_of(1)) == Dot{origin_of(1), Version{4}});
  CHECK_FALSE(context.insert(Dot{origin_of(2), Version{}}));  // no event has version 0
}

// Counters: each step is an addition by one of three writers at its own replica, or a delivery.
template <class Counter, class Mutate>
void check_counter(Mutate&& mutate) {
  CHECK(rc::check([&](const Steps& steps) {
    std::array<Counter, 3> replicas;
    std::vector<Counter> deltas;
    std::map<std::uint64_t, std::int64_t> twin;  // by writer
    for (const auto& bytes : steps) {
      const std::uint64_t writer = bytes[0] % 3;
      if (bytes[1] % 2 == 0) {
        deltas.push_back(mutate(replicas[writer], origin_of(writer), bytes[2], twin[writer]));
      } else if (!deltas.empty()) {
        replicas[writer].join(deltas[bytes[2] % deltas.size()]);
      }
    }
    assert_lattice_laws(replicas[0], replicas[1], replicas[2]);
    RC_ASSERT((hash_of_state(replicas[0]) == hash_of_state(replicas[1])) ==
              (replicas[0] == replicas[1]));
    Counter by_deltas;
    for (auto delta = deltas.rbegin(); delta != deltas.rend(); ++delta) by_deltas.join(*delta);
    const Counter by_states = joined(joined(replicas[2], replicas[1]), replicas[0]);
    RC_ASSERT(by_deltas == by_states);
    std::int64_t sum = 0;
    for (const auto& [writer, amount] : twin) sum += amount;
    RC_ASSERT(static_cast<std::int64_t>(by_states.value()) == sum);
  }));
}

TEST_CASE("GCounter: laws, deltas equal states, the sum of all additions whatever is repeated") {
  check_counter<GCounter>(
      [](GCounter& counter, const Origin& self, std::uint8_t amount, std::int64_t& twin) {
        twin += amount;
        return counter.add(self, amount);
      });
  CHECK(GCounter{}.add(origin_of(1), 0) == GCounter{});
}

TEST_CASE("a GCounter that would overflow stays at the greatest number") {
  GCounter counter;
  counter.add(origin_of(1), std::numeric_limits<std::uint64_t>::max() - 1);
  counter.add(origin_of(1), 2);
  counter.add(origin_of(2), 7);
  CHECK(counter.value() == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("PnCounter: laws, deltas equal states, the sum of all additions and subtractions") {
  check_counter<PnCounter>(
      [](PnCounter& counter, const Origin& self, std::uint8_t amount, std::int64_t& twin) {
        const bool lower = amount % 2 == 0;
        twin += lower ? -amount : amount;
        return lower ? counter.subtract(self, amount) : counter.add(self, amount);
      });
}

}  // namespace
}  // namespace dualmesh::crdt
