#include <doctest/doctest.h>

#include <array>

#include "tests/crdt/change_map_twin.h"

namespace dualmesh::crdt {
namespace {

using Bytes = std::array<std::uint8_t, 4>;

TEST_CASE("an interval has the net effect of its steps, in whatever portions they come") {
  CHECK(rc::check([](const Steps& steps, const Bytes& x) {
    const History history = history_of(steps);
    const std::uint64_t from = x[0] % (history.size() + 1);
    const std::uint64_t to = from + x[1] % (history.size() + 1 - from);
    const Blocks one_by_one = heard(history, from, to);
    const Blocks at_once = heard(history, from, to, 1 + x[2]);
    RC_ASSERT(equals(one_by_one, Twin{&history, from, to}));
    RC_ASSERT(sound(one_by_one, history));
    RC_ASSERT(one_by_one == at_once);
    RC_ASSERT(one_by_one.digest() == at_once.digest());
  }));
}

TEST_CASE("intervals that join on are laid together in any grouping and order") {
  CHECK(rc::check([](const Steps& steps, const Bytes& x) {
    const History history = history_of(steps);
    const std::uint64_t size = history.size() + 1;
    std::uint64_t cuts[] = {x[0] % size, x[1] % size, x[2] % size, x[3] % size};
    std::sort(std::begin(cuts), std::end(cuts));
    const Blocks a = heard(history, cuts[0], cuts[1]);
    const Blocks b = heard(history, cuts[1], cuts[2]);
    const Blocks c = heard(history, cuts[2], cuts[3]);
    const Blocks all = heard(history, cuts[0], cuts[3]);
    for (const Blocks& way : {joined(joined(a, b), c), joined(a, joined(b, c)),
                              joined(c, joined(b, a)), joined(joined(c, b), a)}) {
      RC_ASSERT(way == all);
      RC_ASSERT(way.digest() == all.digest());
    }
    RC_ASSERT(equals(all, Twin{&history, cuts[0], cuts[3]}));
    for (const Blocks& part : {a, b, c, all}) RC_ASSERT(joined(all, part) == all);  // idempotent
    RC_ASSERT(joined(a, a) == a);
  }));
}

TEST_CASE("a join of any two is the same both ways, never invents, and says truly if it grew") {
  CHECK(rc::check([](const Steps& steps, const Bytes& x) {
    const History history = history_of(steps);
    const std::uint64_t size = history.size() + 1;
    const Blocks a =
        heard(history, std::min(x[0] % size, x[1] % size), std::max(x[0] % size, x[1] % size));
    const Blocks b =
        heard(history, std::min(x[2] % size, x[3] % size), std::max(x[2] % size, x[3] % size));
    Blocks ab = a, ba = b;
    Mirror mirror;
    const bool grew = joins(ab, b, mirror);
    joins(ba, a, mirror);
    RC_ASSERT(ab == ba);
    RC_ASSERT(ab.digest() == ba.digest());
    RC_ASSERT(ab.unknown() == ba.unknown());
    RC_ASSERT(sound(ab, history));
    RC_ASSERT(grew == (!(ab == a) || ab.unknown() < a.unknown()));
    RC_ASSERT(equals(ab, Twin{&history, ab.base().value, ab.end().value}));
    RC_ASSERT(ab.end() == std::max(a.end(), b.end()));
  }));
}

TEST_CASE("replicas with gaps stay sound, their observers follow, and the whole heals them") {
  CHECK(rc::check([](const Steps& steps, const Steps& pieces) {
    const History history = history_of(steps);
    Blocks blocks;
    Mirror mirror;
    for (const auto& bytes : pieces) {
      const std::uint64_t from = bytes[0] % history.size();
      const std::uint64_t to = from + 1 + bytes[1] % (history.size() - from);
      if (bytes[2] % 2 == 0) {
        joins(blocks, heard(history, from, to), mirror);
      } else if (blocks.end().value < history.size()) {
        const Version next = blocks.end().next();
        blocks.apply(blocks.end(), next, history[next.value - 1], mirror);
      }
      RC_ASSERT(sound(blocks, history));
      RC_ASSERT(mirror.mirrors(blocks));
      RC_ASSERT(equals(blocks, Twin{&history, blocks.base().value, blocks.end().value}));
    }
    joins(blocks, heard(history, 0, history.size()), mirror);
    RC_ASSERT(blocks.complete());
    RC_ASSERT(mirror.mirrors(blocks));
    RC_ASSERT(blocks == heard(history, 0, history.size()));
  }));
}

TEST_CASE("equal bounds mean equal digests; a digest tells bounds, keys and counts apart") {
  const auto digest = [](Version base, Version end, Batch changes) {
    Blocks blocks = Blocks::after(base);
    blocks.apply(base, end, changes);
    return blocks.digest();
  };
  const Version v1{1}, v2{2}, v3{3};
  const std::vector<StateDigest> digests = {
      digest(v1, v2, {}),          digest(v1, v3, {}),
      digest(v2, v3, {}),          digest(v1, v2, {add(1)}),
      digest(v1, v2, {add(2)}),    digest(v1, v2, {remove(1)}),
      digest(v1, v2, {remove(2)}), digest(v1, v2, {add(1), add(1)}),
      digest(v1, v2, {clear()}),   digest(v1, v2, {remove(1), add(1)})};
  for (std::size_t i = 0; i < digests.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) CHECK_FALSE(digests[i] == digests[j]);
  }
  CHECK(digest(v1, v2, {add(1)}) == digest(v1, v2, {add_unknown(1)}));
  CHECK(digest(v1, v2, {add(1), add(2)}) == digest(v1, v2, {add(2), add(1), add(3), remove(3)}));
}

TEST_CASE("what does not join on is refused and changes nothing") {
  const Batch batch = {add(9)};
  Blocks blocks;
  CHECK(blocks.apply(Version{0}, Version{5}, {}) == Applied::changed);
  const Blocks before = blocks;
  CHECK(blocks.apply(Version{6}, Version{7}, batch) == Applied::gap);
  CHECK(blocks.apply(Version{4}, Version{7}, batch) == Applied::gap);  // cannot be split
  CHECK(blocks.apply(Version{4}, Version{5}, batch) == Applied::duplicate);
  CHECK(blocks.apply(Version{5}, Version{5}, batch) == Applied::duplicate);
  CHECK(blocks.apply(Version{5}, Version{4}, batch) == Applied::malformed);
  CHECK(blocks.apply(Version{~0ull}, Version{~0ull}, batch) == Applied::gap);
  CHECK(blocks == before);
  CHECK(blocks.size() == 0);
  CHECK(blocks.apply(Version{5}, Version{~0ull}, batch) == Applied::changed);
}

TEST_CASE("a change map taken apart and restored is the same; nonsense is not restored") {
  using Parts = std::vector<std::pair<std::uint64_t, Blocks::Entry>>;
  CHECK(rc::check([](const Steps& steps, std::uint8_t from) {
    const History history = history_of(steps);
    const Blocks blocks = heard(history, from % history.size(), history.size());
    Parts parts;
    blocks.for_each([&](std::uint64_t key, const auto& entry) { parts.emplace_back(key, entry); });
    std::reverse(parts.begin(), parts.end());
    const auto restored = Blocks::restore(blocks.base(), blocks.end(), parts);
    RC_ASSERT(restored.has_value());
    RC_ASSERT(*restored == blocks);
    RC_ASSERT(restored->digest() == blocks.digest());
    RC_ASSERT(restored->present() == blocks.present());
    RC_ASSERT(restored->unknown() == blocks.unknown());
  }));
  const Parts one = {{1, {content(1), 0, 1}}}, twice = {one[0], one[0]};
  const Parts removed = {{1, {{}, 1, 0}}}, vacant = {{1, {content(1), 0, 0}}};
  CHECK(Blocks::restore(Version{1}, Version{2}, one));
  CHECK(Blocks::restore(Version{1}, Version{2}, removed));
  CHECK_FALSE(Blocks::restore(Version{3}, Version{2}, {}));
  CHECK_FALSE(Blocks::restore(Version{0}, Version{2}, removed));  // complete yet removing
  CHECK_FALSE(Blocks::restore(Version{1}, Version{2}, vacant));
  CHECK_FALSE(Blocks::restore(Version{1}, Version{2}, twice));
  CHECK_FALSE(Blocks::restore(Version{2}, Version{2}, one));  // something out of no steps
}

TEST_CASE(
    "a removal heard before its addition removes one copy: holes are neither adds nor deletes") {
  const History history = {{add(1), add(1)}, {add(2)}, {remove(1)}};
  Blocks late = heard(history, 1, 3);  // never heard of 1's additions
  CHECK_FALSE(late.complete());
  CHECK(late.present() == 1);
  CHECK(late.size() == 2);
  late.join(heard(history, 0, 1));
  CHECK(late.complete());
  CHECK(counts(late) == Counts{{1, {0, 1}}, {2, {0, 1}}});
}

TEST_CASE("intervals that overlap cannot be laid together: the later one is kept") {
  // Whether 1 was added in the common step and removed after, or before it and kept: the interval
  // (1, 3] is the same.
  const History gone = {{}, {add(1)}, {remove(1)}}, kept = {{add(1)}, {}, {}};
  for (const History* history : {&gone, &kept}) {
    const Blocks both = joined(heard(*history, 0, 2), heard(*history, 1, 3));
    CHECK(both == heard(*history, 1, 3));
    CHECK_FALSE(both.complete());
    CHECK(both.present() == 0);
  }
}

TEST_CASE("a clearing completes a late listener and tells the observer of each") {
  Blocks late = Blocks::after(Version{7});
  Mirror mirror;
  const Batch before = {add(1), add(1), add_unknown(2), remove(3)}, after = {clear(), add(4)};
  late.apply(Version{7}, Version{8}, before, mirror);
  CHECK(late.unknown() == 1);
  CHECK(mirror.present.size() == 1);
  late.apply(Version{8}, Version{9}, after, mirror);
  CHECK(late.complete());
  CHECK(counts(late) == Counts{{4, {0, 1}}});
  CHECK(late.unknown() == 0);
  CHECK(mirror.mirrors(late));
}

TEST_CASE("a value that becomes known appears then, by a step or from another replica") {
  const Batch unknown = {add_unknown(1)}, known = {add(1)};
  Blocks blind, told;
  Mirror mirror;
  blind.apply(Version{0}, Version{1}, unknown, mirror);
  CHECK(mirror.present.empty());
  told.apply(Version{0}, Version{1}, known);
  CHECK(blind == told);
  CHECK(joins(blind, told, mirror));
  CHECK_FALSE(joins(blind, told, mirror));
  CHECK(blind.unknown() == 0);
  CHECK(mirror.present.size() == 1);

  Blocks again;
  Mirror second;
  again.apply(Version{0}, Version{1}, unknown, second);
  again.apply(Version{1}, Version{2}, known, second);
  CHECK(again.find(1)->added == 2);
  CHECK(second.mirrors(again));
  again.apply(Version{2}, Version{3}, unknown, second);  // a known one stays
  CHECK(again.find(1)->value == content(1));
}

TEST_CASE("counts saturate: beyond them keys are missed, never invented") {
  const std::uint32_t copies = 70'000;
  const Batch adds(copies, add(1)), removes(copies, remove(1));
  Blocks low, high = Blocks::after(Version{1});
  low.apply(Version{0}, Version{1}, adds);
  high.apply(Version{1}, Version{2}, removes);
  CHECK(low.find(1)->added == UINT16_MAX);
  CHECK(high.find(1)->removed == UINT16_MAX);
  CHECK(joined(low, high).present() == 0);
  low.apply(Version{1}, Version{2}, removes);
  CHECK(low.present() == 0);
}

}  // namespace
}  // namespace dualmesh::crdt
