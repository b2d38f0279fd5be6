// KvState: what happens beyond the bounds.
#include <doctest/doctest.h>

#include "node/kv/kv_state_fetch.h"
#include "tests/node/kv/kv_state_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

TEST_CASE("a stream that floods is given up until its next life") {
  KvState state{{.max_stream_blocks = 10}};
  state.set_streams(std::vector{kStream});
  state.observed(kStream, as_batches({5}, 0, 1, many(100, 9)));
  CHECK(state.observed(kStream, as_batches({5}, 1, 2, many(200, 2))) == Taken::refused);
  CHECK(state.flooded(kStream));
  CHECK(state.blocks() == 0);
  CHECK(state.cut(kStream) == nullptr);
  CHECK(!state.indexed_whole(kStream));
  CHECK(state.observed(kStream, as_batches({5}, 4, 5, {add(1)})) == Taken::refused);
  const StreamPosition position = state.position(kStream);
  CHECK(position.end.value == 5);
  CHECK(position.base == position.end);
  state.upkeep(SIZE_MAX / 2);
  CHECK(state.index().size() == 0);
  CHECK(state.observed(kStream, as_batches({6}, 0, 1, {add(1)})) == Taken::changed);
  CHECK(!state.flooded(kStream));
  CHECK(state.position(kStream).complete());
}

TEST_CASE(
    "when all together are too many, and who grew has no more than its share, the largest goes") {
  KvState state{{.max_blocks = 32}};
  const StreamKey large{"large", 0}, small{"small", 0};
  state.set_streams(std::vector{large, small});
  state.observed(large, as_batches({5}, 0, 1, many(100, 20, 9)));  // the first to leave the index
  state.observed(small, as_batches({5}, 0, 1, many(200, 12)));
  CHECK(!state.flooded(large));
  CHECK(state.observed(small, as_batches({5}, 1, 2, {add(300)})) == Taken::changed);
  CHECK(state.flooded(large));
  CHECK(!state.flooded(small));
  CHECK(state.blocks() == 13);
}

TEST_CASE("who floods is given up itself, however large others are") {
  KvState state{{.max_blocks = 100}};
  const StreamKey large{"large", 0}, loud{"loud", 0}, small{"small", 0};
  state.set_streams(std::vector{large, loud, small});
  state.observed(large, as_batches({5}, 0, 1, many(1'000, 60)));
  state.observed(small, as_batches({5}, 0, 1, many(2'000, 5)));
  state.observed(loud, as_batches({5}, 0, 1, many(3'000, 34)));
  CHECK(state.observed(loud, as_batches({5}, 1, 2, many(4'000, 2))) == Taken::refused);
  CHECK(state.flooded(loud));
  CHECK(!state.flooded(large));
  CHECK(state.blocks() == 65);
}

TEST_CASE("a stream that was given up comes back when its engine clears its cache") {
  KvState state{{.max_stream_blocks = 10}};
  state.set_streams(std::vector{kStream});
  state.observed(kStream, as_batches({5}, 0, 1, many(200, 11)));
  REQUIRE(state.flooded(kStream));
  std::uint64_t from = 1;
  SUBCASE("at once") {}
  SUBCASE("after more of it") {
    state.observed(kStream, as_batches({5}, 1, 4, {add(1)}));
    from = 4;
  }
  SUBCASE("after a gap") { from = 9; }
  SUBCASE("and is given up again") {
    std::vector<BlockChange> changes = many(200, 11);
    changes.insert(changes.begin(), clearing());
    CHECK(state.observed(kStream, as_batches({5}, 1, 2, changes)) == Taken::refused);
    CHECK(state.flooded(kStream));
    from = 2;
  }
  const std::vector<BlockChange> changes{add(1), clearing(), add(2)};
  CHECK(state.observed(kStream, as_batches({5}, from, from + 1, changes)) == Taken::changed);
  CHECK(!state.flooded(kStream));
  CHECK(state.position(kStream).complete());
  CHECK(state.position(kStream).end.value == from + 1);
  CHECK(state.present(kStream) == 1);
  CHECK(state.observed(kStream, as_batches({5}, from + 1, from + 2, {add(3)})) == Taken::changed);
  CHECK(state.changes_since(kStream, {from + 1}, 100).has_value());
}

TEST_CASE("who gave a stream up takes the state of another when it has become small") {
  KvState state{{.max_stream_blocks = 10}};
  state.set_streams(std::vector{kStream});
  state.observed(kStream, as_batches({5}, 0, 1, many(200, 11)));
  REQUIRE(state.flooded(kStream));
  const auto offered = [](std::uint64_t base, std::uint64_t end, std::size_t blocks) {
    BlockMap map = BlockMap::after({base});
    map.apply({base}, {end}, many(300, blocks));
    return map;
  };
  const auto taken = [&](BlockMap&& map) {
    StreamPosition position{.epoch = {5}, .base = map.base(), .end = map.end()};
    return state.take_state(kStream, position, {16}, std::move(map));
  };
  CHECK(taken(offered(0, 9, 6)) == Taken::refused);  // it may soon be too large again
  CHECK(taken(offered(0, 1, 5)) == Taken::refused);
  CHECK(taken(offered(2, 9, 5)) == Taken::refused);
  CHECK(state.flooded(kStream));
  CHECK(taken(offered(0, 9, 5)) == Taken::changed);
  CHECK(!state.flooded(kStream));
  CHECK(state.position(kStream).complete());
  CHECK(state.position(kStream).end.value == 9);
}

TEST_CASE("states frozen for others are few, and a quarter of all blocks, but one at least") {
  KvState state{{.max_blocks = 100}};
  const StreamKey a{"a", 0}, b{"b", 0}, c{"c", 0};
  state.set_streams(std::vector{a, b, c});
  state.observed(a, as_batches({5}, 0, 1, many(100, 40)));
  state.observed(b, as_batches({5}, 0, 1, many(200, 12)));
  state.observed(c, as_batches({5}, 0, 1, many(300, 13)));
  KvCuts cuts{state};
  const policies::Time now{std::chrono::seconds(5)};
  const auto* const first = cuts.find(a, {}, now);
  REQUIRE(first != nullptr);
  CHECK(cuts.find(a, {}, now) == first);
  CHECK(cuts.find(b, {}, now) == nullptr);
  cuts.drop_unused(now + std::chrono::seconds(1));
  CHECK(cuts.find(b, {}, now) != nullptr);
  CHECK(cuts.find(c, {}, now) != nullptr);
  state.observed(c, as_batches({5}, 1, 2, {add(400)}));
  CHECK(cuts.find(c, {.least = {2}}, now) == nullptr);  // a second one of it would be too many
  CHECK(cuts.find(a, {}, now) == nullptr);
}

TEST_CASE("a state that somebody has been told whole gives way to another that is asked for") {
  KvState state{{.max_blocks = 100}};
  const StreamKey a{"a", 0}, b{"b", 0};
  state.set_streams(std::vector{a, b});
  state.observed(a, as_batches({5}, 0, 1, many(100, 40)));
  state.observed(b, as_batches({5}, 0, 1, many(200, 12)));
  KvCuts cuts{state};
  const policies::Time now{std::chrono::seconds(5)};
  const auto* const first = cuts.find(a, {}, now);
  REQUIRE(first != nullptr);
  const std::uint64_t id = first->id;
  CHECK(cuts.find(b, {}, now) == nullptr);
  cuts.told(id);
  CHECK(cuts.find(a, {.cut = id}, now) != nullptr);  // as long as nobody needs the room
  const auto* const second = cuts.find(b, {}, now);
  REQUIRE(second != nullptr);
  CHECK(second->cut->entries.size() == 12);
  CHECK(cuts.find(a, {.cut = id}, now) == nullptr);
}
