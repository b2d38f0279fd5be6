#include "policies/index/removal_marks.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace dualmesh::policies;
using namespace std::chrono_literals;

TEST_CASE("the last removal of a block from a cache is known to the millisecond") {
  RemovalMarks marks;
  CHECK_FALSE(marks.removed_at(5, 1));
  marks.removed(5, 1, 1'000'000s + 7ms);
  CHECK(marks.removed_at(5, 1) == Time(1'000'000s + 7ms));
  CHECK_FALSE(marks.removed_at(5, 2));
  CHECK_FALSE(marks.removed_at(6, 1));
  marks.removed(5, 1, 1'000'001s);
  CHECK(marks.removed_at(5, 1) == Time(1'000'001s));
  marks.removed(RemovalMarks::kAll, 1, 9s);
  CHECK(marks.removed_at(RemovalMarks::kAll, 1) == Time(9s));
}

TEST_CASE("of many removals the last are mostly known, and nothing is made up") {
  std::mt19937_64 random(3);
  RemovalMarks marks;
  std::map<std::pair<BlockKey, CacheId>, Time> last;
  Time now = 1s;
  for (int i = 0; i < 200'000; ++i) {
    const BlockKey key = i % 3 == 0 ? 1 + random() % 500 : random() | 1;
    const auto cache = static_cast<CacheId>(1 + random() % 60);
    marks.removed(key, cache, now += 1ms);
    last[{key, cache}] = now;
  }
  std::size_t recent = 0, known = 0;
  for (const auto& [place, at] : last) {
    const auto said = marks.removed_at(place.first, place.second);
    if (said) CHECK(*said == at);
    if (now - at > 6s) continue;
    ++recent;
    known += said.has_value();
  }
  CHECK(known > recent * 9 / 10);
}
