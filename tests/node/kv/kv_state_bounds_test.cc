// KvState: what happens beyond the bounds.
#include <doctest/doctest.h>

#include "node/kv/kv_state_fetch.h"

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

const StreamKey kStream{"engine", 0};

ObservedBatches as_batches(crdt::Epoch epoch, std::uint64_t from, std::uint64_t to,
                           const std::vector<BlockChange>& changes) {
  return {epoch, crdt::Version{from}, crdt::Version{to}, changes, 7, {16}};
}

BlockChange add(EngineHash hash, std::uint16_t depth = 0) {
  return {BlockMap::Kind::add, hash, {hash, depth, policies::Medium::gpu}};
}

BlockChange clearing() { return {BlockMap::Kind::clear, 0, {}}; }

std::vector<BlockChange> many(EngineHash first, std::size_t count, std::uint16_t depth = 0) {
  std::vector<BlockChange> changes;
  for (std::size_t i = 0; i < count; ++i) changes.push_back(add(first + i, depth));
  return changes;
}

}  // namespace

TEST_CASE("a stream that floods is given up until its next life") {
  KvLimits limits;
  limits.max_stream_blocks = 10;
  KvState state{limits};
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
  KvLimits limits;
  limits.max_blocks = 32;
  KvState state{limits};
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
  KvLimits limits;
  limits.max_blocks = 100;
  KvState state{limits};
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
  KvLimits limits;
  limits.max_stream_blocks = 10;
  KvState state{limits};
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
  KvLimits limits;
  limits.max_stream_blocks = 10;
  KvState state{limits};
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
  KvLimits limits;
  limits.max_blocks = 100;
  KvState state{limits};
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
