#include "crdt/top_k.h"

#include <doctest/doctest.h>

#include <map>
#include <vector>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Top = TopK<std::uint64_t>;
using Counts = std::map<std::uint64_t, std::uint64_t>;  // the naive twin

void add(const Steps& steps, Top& top, Counts& twin) {
  for (const auto& bytes : steps) {
    const std::uint64_t key = bytes[0] % 4 == 0 ? bytes[1] % 64 : bytes[1] % 4;  // some are hot
    top.add(key, bytes[2] % 4);
    twin[key] += bytes[2] % 4;
  }
}

void assert_bounds(const Top& top, const Counts& twin) {
  std::uint64_t total = 0;
  for (const auto& [key, count] : twin) {
    total += count;
    const auto cell = top.cells().find(key);
    if (cell == top.cells().end()) {
      RC_ASSERT(count <= top.floor());
    } else {
      RC_ASSERT(count <= cell->second.count);
      RC_ASSERT(count + cell->second.error >= cell->second.count);
      RC_ASSERT(cell->second.error <= top.floor());
    }
  }
  RC_ASSERT(top.total() == total);
  RC_ASSERT(top.floor() * top.capacity() <= total);
  RC_ASSERT(top.cells().size() <= top.capacity());
}

TEST_CASE("TopK keeps its bounds over any stream, and through merges in any order") {
  CHECK(rc::check([](const std::array<Steps, 3>& streams, const Steps& more) {
    std::vector<Top> tops(3, Top(5));
    Counts all;
    for (std::size_t i = 0; i < 3; ++i) {
      Counts twin;
      add(streams[i], tops[i], twin);
      assert_bounds(tops[i], twin);
      for (const auto& [key, count] : twin) all[key] += count;
    }
    Top left = tops[0], right = tops[1], swapped = tops[1];
    left.merge(tops[1]);
    swapped.merge(tops[0]);
    RC_ASSERT(left == swapped);  // commutative
    left.merge(tops[2]);
    right.merge(tops[2]);
    right.merge(tops[0]);
    assert_bounds(left, all);
    assert_bounds(right, all);
    add(more, left, all);  // a merged summary may go on counting
    assert_bounds(left, all);
    const std::vector<Top::Ranked> ranked = left.ranked();
    for (std::size_t i = 1; i < ranked.size(); ++i) {
      RC_ASSERT(ranked[i - 1].cell.count >= ranked[i].cell.count);
    }
  }));
}

TEST_CASE("TopK counts exactly while all keys fit, and merging then is associative") {
  CHECK(rc::check([](const std::array<Steps, 3>& streams) {
    std::vector<Top> tops(3, Top(64));
    Counts twin;
    for (std::size_t i = 0; i < 3; ++i) add(streams[i], tops[i], twin);
    Top left = tops[0], right = tops[1];
    left.merge(tops[1]);
    left.merge(tops[2]);
    right.merge(tops[2]);
    right.merge(tops[0]);
    RC_ASSERT(left == right);
    RC_ASSERT(left.floor() == 0u);
    for (const auto& [key, cell] : left.cells()) RC_ASSERT(cell.count == twin[key]);
  }));
}

TEST_CASE("the example of space-saving by hand: the least makes room and leaves its count") {
  Top top(2);
  top.add(1, 5);
  top.add(2, 3);
  top.add(3, 1);
  CHECK(top.floor() == 3);
  REQUIRE(top.ranked().size() == 2);
  CHECK(top.ranked()[0].key == 1);
  CHECK(top.ranked()[1].key == 3);
  CHECK(top.ranked()[1].cell == Top::Cell{4, 3});
}

TEST_CASE("ties go by key, whatever came first") {
  Top one(2), two(2);
  one.add(1), one.add(2), one.add(3);
  two.add(2), two.add(1), two.add(3);
  CHECK(one == two);
  CHECK(one.cells().contains(1));  // of equal counts the greater key makes room
}

TEST_CASE("TopKByOrigin is a semilattice; deltas equal states; all replicas see the same ranking") {
  CHECK(rc::check([](const Steps& steps) {
    using Shared = TopKByOrigin<std::uint64_t>;
    std::vector<Shared> replicas(3, Shared(4));
    std::vector<Shared> deltas;
    const auto origin = [](std::uint64_t node) { return Origin{NodeId{node}, Epoch{1}}; };
    for (const auto& bytes : steps) {
      const std::size_t self = bytes[0] % 3;
      if (bytes[1] % 3 != 0) {
        replicas[self].add(origin(self), bytes[2] % 16, 1 + bytes[3] % 4);
        deltas.push_back(replicas[self].delta_of(origin(self)));
      } else if (!deltas.empty()) {
        replicas[self].join(deltas[bytes[2] % deltas.size()]);
      }
    }
    assert_lattice_laws(replicas[0], replicas[1], replicas[2]);
    RC_ASSERT((hash_of_state(replicas[0]) == hash_of_state(replicas[1])) ==
              (replicas[0] == replicas[1]));
    Shared by_deltas(4);
    for (auto delta = deltas.rbegin(); delta != deltas.rend(); ++delta) by_deltas.join(*delta);
    const Shared by_states = joined(joined(replicas[2], replicas[1]), replicas[0]);
    RC_ASSERT(by_deltas == by_states);
    RC_ASSERT(by_deltas.merged() == by_states.merged());
  }));
}

TEST_CASE("summaries of another capacity are not taken, and a dropped writer no longer counts") {
  const Origin self{NodeId{1}, Epoch{1}};
  TopKByOrigin<std::uint64_t> small(2), large(4);
  large.add(self, 1);
  CHECK_FALSE(small.join(large));
  small.add(self, 1);
  small.drop(self);
  CHECK(small.merged().total() == 0);
}

}  // namespace
}  // namespace dualmesh::crdt
