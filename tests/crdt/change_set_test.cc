#include "crdt/change_set.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Blocks = ChangeSet<std::uint64_t>;
using Batch = std::vector<Blocks::Change>;
using History = std::vector<Batch>;  // batch i is step i + 1
using Keys = std::set<std::uint64_t>;

Blocks::Change add(std::uint64_t key) { return {Blocks::Kind::add, key}; }
Blocks::Change remove(std::uint64_t key) { return {Blocks::Kind::remove, key}; }
Blocks::Change clear() { return {Blocks::Kind::clear, 0}; }

template <class Range>
Keys keys(const Range& range) {
  return Keys(range.begin(), range.end());
}

// The naive twin: the steps known, out of the whole history.
struct Twin {
  struct Run {
    std::uint64_t base, end;
    Keys present, removed;
    bool operator==(const Run&) const = default;
  };
  const History* history;
  std::set<std::uint64_t> known;

  Run replay(std::uint64_t base, std::uint64_t end) const {
    Run run{base, end, {}, {}};
    for (std::uint64_t step = base + 1; step <= end; ++step) {
      for (const auto& change : (*history)[step - 1]) {
        if (change.kind == Blocks::Kind::clear) {
          run = Run{0, end, {}, {}};
        } else if (change.kind == Blocks::Kind::add) {
          run.present.insert(change.key), run.removed.erase(change.key);
        } else {
          run.present.erase(change.key);
          if (run.base != 0) run.removed.insert(change.key);
        }
      }
    }
    return run;
  }
  std::vector<Run> runs() const {
    std::vector<Run> result;
    for (auto step = known.begin(); step != known.end();) {
      const std::uint64_t base = *step - 1;
      std::uint64_t end = base;
      for (; step != known.end() && *step == end + 1; ++step) ++end;
      const Run run = replay(base, end);
      if (run.base == 0) result.clear();
      result.push_back(run);
    }
    if (result.empty()) result.push_back(Run{0, 0, {}, {}});
    return result;
  }
  Keys truth(std::uint64_t end) const { return replay(0, end).present; }
};

std::vector<Twin::Run> runs(const Blocks& blocks) {
  std::vector<Twin::Run> result;
  for (const auto& interval : blocks.intervals()) {
    result.push_back({interval.base().value, interval.end().value, keys(interval.present()),
                      keys(interval.removed())});
  }
  return result;
}

// A sound replica: a subset of the truth, all of it when it says so.
bool sound(const Blocks& blocks, const Twin& twin) {
  const Keys held = keys(blocks.newest().present());
  const Keys truth = twin.truth(blocks.end().value);
  if (blocks.complete()) return held == truth;
  return std::includes(truth.begin(), truth.end(), held.begin(), held.end());
}

History history_of(const Steps& steps) {
  History history(1);
  for (const auto& bytes : steps) {
    if (bytes[3] % 2 == 0) history.emplace_back();  // some batches have several changes
    if (bytes[0] % 32 == 0) history.back().push_back(clear());
    const std::uint64_t key = bytes[1] % 8;
    history.back().push_back(bytes[2] % 5 < 2 ? remove(key) : add(key));
  }
  return history;
}

// Steps (from, to] of the history, heard in order.
Blocks heard(const History& history, std::uint64_t from, std::uint64_t to) {
  Blocks blocks = Blocks::after(Version{from});
  for (std::uint64_t step = from + 1; step <= to; ++step) {
    BOOST_ASSERT(blocks.apply(Version{step}, history[step - 1]) == Applied::changed);
  }
  return blocks;
}

struct Known {
  Blocks blocks;
  Twin twin;

  Known(const History& history, const std::array<std::uint8_t, 4>& bytes) : twin{&history, {}} {
    hear(bytes[0], bytes[1]);
    if (bytes[2] % 2 == 0) hear(bytes[2], bytes[3]);
  }
  void hear(std::uint8_t from_byte, std::uint8_t length_byte) {
    const std::uint64_t size = twin.history->size();
    const std::uint64_t from = from_byte % size;
    const std::uint64_t to = from + 1 + length_byte % (size - from);
    blocks.join(heard(*twin.history, from, to));
    for (std::uint64_t step = from + 1; step <= to; ++step) twin.known.insert(step);
  }
};

TEST_CASE("change sets are a semilattice and equal the naive set of known steps") {
  using Bytes = std::array<std::uint8_t, 4>;
  CHECK(rc::check([](const Steps& steps, const Bytes& x, const Bytes& y, const Bytes& z) {
    const History history = history_of(steps);
    const Known a(history, x), b(history, y), c(history, z);
    for (const Known* one : {&a, &b, &c}) {
      RC_ASSERT(runs(one->blocks) == one->twin.runs());
      RC_ASSERT(sound(one->blocks, one->twin));
    }
    RC_ASSERT((a.blocks.digest() == b.blocks.digest()) == (a.blocks == b.blocks));

    Twin all = a.twin;
    all.known.insert(b.twin.known.begin(), b.twin.known.end());
    const Blocks two = joined(a.blocks, b.blocks);
    RC_ASSERT(runs(two) == all.runs());
    RC_ASSERT(two.digest() == joined(b.blocks, a.blocks).digest());
    all.known.insert(c.twin.known.begin(), c.twin.known.end());
    const std::vector<Twin::Run> expected = all.runs();
    if (expected.size() > Blocks::kMaxIntervals) return;  // beyond it see the next case
    RC_ASSERT(runs(joined(two, c.blocks)) == expected);
    assert_lattice_laws(a.blocks, b.blocks, c.blocks);
  }));
}

TEST_CASE("with more gaps than it holds a change set stays sound, and becomes whole once healed") {
  CHECK(rc::check([](const Steps& steps, const Steps& pieces) {
    const History history = history_of(steps);
    Twin twin{&history, {}};
    Blocks blocks;
    for (const auto& bytes : pieces) {
      const std::uint64_t from = bytes[0] % history.size();
      blocks.join(heard(history, from, from + 1));
      RC_ASSERT(blocks.intervals().size() <= Blocks::kMaxIntervals);
      RC_ASSERT(sound(blocks, twin));
    }
    for (std::uint64_t step = 1; step <= history.size(); ++step) {  // one by one from the beginning
      blocks.join(heard(history, step - 1, step));
    }
    RC_ASSERT(blocks.complete());
    RC_ASSERT(blocks.intervals().size() == 1u);
    RC_ASSERT(keys(blocks.newest().present()) == twin.truth(history.size()));
  }));
}

TEST_CASE("deltas of any cut, joined in any order with repeats, equal hearing the source") {
  CHECK(rc::check([](const Steps& steps, const Steps& order, std::uint8_t cut) {
    const History history = history_of(steps);
    std::vector<Blocks> deltas;
    for (std::uint64_t from = 0; from < history.size(); from += 1 + cut % 4) {
      deltas.push_back(
          heard(history, from, std::min<std::uint64_t>(history.size(), from + 1 + cut % 4)));
    }
    Blocks replica;
    for (const auto& bytes : order) replica.join(deltas[bytes[0] % deltas.size()]);
    for (const Blocks& delta : deltas) replica.join(delta);
    RC_ASSERT(replica == heard(history, 0, history.size()));
  }));
}

TEST_CASE("a batch that does not join on is refused and changes nothing") {
  CHECK(rc::check([](const Steps& steps, const std::array<std::uint8_t, 4>& x, std::uint8_t at) {
    const History history = history_of(steps);
    Known one(history, x);
    const Version step{1u + at % (history.size() + 2)};
    const Batch batch = step.value <= history.size() ? history[step.value - 1] : Batch{add(99)};
    const Blocks before = one.blocks;
    const Applied outcome = one.blocks.apply(step, batch);
    const auto before_runs = one.twin.runs();
    const bool known = std::any_of(before_runs.begin(), before_runs.end(), [&](const auto& run) {
      return run.base < step.value && step.value <= run.end;
    });
    RC_ASSERT(outcome == (step == before.end().next() ? Applied::changed
                          : known                     ? Applied::duplicate
                                                      : Applied::gap));
    RC_ASSERT((outcome == Applied::changed) == !(one.blocks == before));
  }));
  Blocks blocks;
  CHECK(blocks.apply(Version{~std::uint64_t{0}}, {}) == Applied::gap);
  CHECK(blocks.apply(Version{0}, {}) == Applied::gap);
}

TEST_CASE("a change set taken apart and restored is the same; nonsense is not restored") {
  CHECK(rc::check([](const Steps& steps, const std::array<std::uint8_t, 4>& x) {
    const History history = history_of(steps);
    const Known one(history, x);
    Blocks copy;
    for (const auto& interval : one.blocks.intervals()) {
      const std::vector<std::uint64_t> present(interval.present().begin(),
                                               interval.present().end());
      const std::vector<std::uint64_t> removed(interval.removed().begin(),
                                               interval.removed().end());
      const auto restored = Blocks::restore(interval.base(), interval.end(), present, removed);
      RC_ASSERT(restored.has_value());
      copy.join(*restored);
    }
    RC_ASSERT(copy == one.blocks);
    RC_ASSERT(copy.digest() == one.blocks.digest());
  }));
  const std::uint64_t one[] = {1}, none[] = {0};
  const auto nothing = std::span(none).first(0);
  CHECK_FALSE(Blocks::restore(Version{3}, Version{2}, nothing, nothing));
  CHECK_FALSE(Blocks::restore(Version{0}, Version{2}, nothing, one));  // complete yet removing
  CHECK_FALSE(Blocks::restore(Version{1}, Version{2}, one, one));      // present and removed
  CHECK_FALSE(Blocks::restore(Version{2}, Version{2}, one, nothing));  // something out of no steps
  CHECK(Blocks::restore(Version{1}, Version{2}, one, nothing));
}

TEST_CASE("a removal heard before its addition removes: holes do not become deletes nor adds") {
  const History history = {{add(1)}, {add(2)}, {remove(1)}};
  Blocks late = heard(history, 1, 3);  // never heard of 1's addition
  CHECK_FALSE(late.complete());
  CHECK(keys(late.newest().present()) == Keys{2});
  late.join(heard(history, 0, 1));
  CHECK(late.complete());
  CHECK(keys(late.newest().present()) == Keys{2});
}

TEST_CASE("a clearing makes a late listener complete, and what lay below irrelevant") {
  const History history = {{add(1)}, {add(2)}, {add(3)}, {clear(), add(4)}, {add(5)}};
  Blocks late = heard(history, 0, 1);
  late.join(Blocks::after(Version{2}));
  CHECK_FALSE(late.complete());
  CHECK(late.apply(Version{3}, history[2]) == Applied::changed);
  CHECK_FALSE(late.complete());
  CHECK(late.intervals().size() == 2);
  CHECK(late.apply(Version{4}, history[3]) == Applied::changed);
  CHECK(late.complete());
  CHECK(late.intervals().size() == 1);
  CHECK(keys(late.newest().present()) == Keys{4});
}

// Every small history: a source, a replica that hears its batches one by one in every order with
// one doubled and one lost, and a replica that hears only the first replica.
bool deliver(const History& history, const std::vector<int>& order) {
  const Twin twin{&history, {}};
  Blocks near, far;
  for (int index : order) {
    near.join(heard(history, index, index + 1));
    far.join(near);
    if (!sound(near, twin) || !(far == near)) return false;
  }
  const Blocks source = heard(history, 0, history.size());
  near.join(source);
  far.join(near);
  return near == source && far == source;
}

TEST_CASE("every small history of a change set under every delivery order is sound and converges") {
  const Batch kinds[] = {{add(1)}, {add(2)}, {remove(1)}, {clear()}};
  std::uint64_t runs = 0;
  for (int code = 0; code < 4 * 4 * 4 * 4; ++code) {
    History history;
    for (int i = 0, rest = code; i < 4; ++i, rest /= 4) history.push_back(kinds[rest % 4]);
    for (int lost = 0; lost <= 4; ++lost) {  // 4: none
      for (int doubled = 0; doubled < 4; ++doubled) {
        if (doubled == lost) continue;
        std::vector<int> order;
        for (int i = 0; i < 4; ++i) {
          if (i != lost) order.insert(order.end(), i == doubled ? 2 : 1, i);
        }
        do {
          ++runs;
          if (!deliver(history, order)) {
            CAPTURE(code);
            CAPTURE(order);
            FAIL("a replica went wrong");
          }
        } while (std::next_permutation(order.begin(), order.end()));
      }
    }
  }
  // Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(runs == 256 * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
