#include "node/kv/kv_state.h"

#include <doctest/doctest.h>

#include <set>

#include "tests/node/kv/kv_state_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

namespace {

BlockMap map_of(const StreamCut& cut) {
  return *BlockMap::restore(cut.position.base, cut.position.end, cut.entries);
}

bool index_has(const KvState& state, policies::BlockKey key, policies::CacheId cache) {
  std::vector<policies::CacheMatch> found;
  state.index().longest_prefix(std::vector{key}, policies::kMediumWeights, found);
  for (const policies::CacheMatch& match : found) {
    if (match.cache == cache && match.blocks == 1) return true;
  }
  return false;
}

// The index holds the visible blocks of the maps and, once all that leaves has left, nothing else.
void check_index(KvState& state) {
  state.upkeep(SIZE_MAX / 2);
  std::set<std::tuple<policies::BlockKey, policies::CacheId, policies::Medium>> expected;
  for (const StreamKey& stream : state.streams()) {
    state.map(stream)->for_each([&](EngineHash, const BlockMap::Entry& entry) {
      if (!entry.visible()) return;
      const auto cache = *state.cache_of(stream);
      expected.emplace(entry.value.key, cache, entry.value.medium);
      CHECK(index_has(state, entry.value.key, cache));
    });
  }
  std::set<std::pair<policies::BlockKey, policies::CacheId>> pairs;
  for (const auto& [key, cache, medium] : expected) pairs.emplace(key, cache);
  CHECK(state.index().size() == pairs.size());
}

}  // namespace

TEST_CASE("batches that join on are taken, once") {
  KvState state{{}};
  CHECK(state.observed(kStream, as_batches({5}, 0, 1, {})) == Taken::refused);  // unknown stream
  state.set_streams(std::vector{kStream});
  CHECK(state.position(kStream) == StreamPosition{});
  CHECK(state.observed(kStream, as_batches({5}, 0, 1, {add(1), add(2)})) == Taken::changed);
  CHECK(state.observed(kStream, as_batches({5}, 0, 1, {add(1), add(2)})) == Taken::nothing_new);
  CHECK(state.observed(kStream, as_batches({4}, 1, 2, {})) == Taken::older);
  CHECK(state.observed(kStream, as_batches({0}, 1, 2, {})) == Taken::refused);
  CHECK(state.observed(kStream, as_batches({5}, 2, 1, {})) == Taken::refused);
  CHECK(state.observed(kStream, as_batches({5}, 1, 2, {removal(1)}, 9)) == Taken::changed);
  const StreamPosition position = state.position(kStream);
  CHECK(position.complete());
  CHECK(position.end.value == 2);
  CHECK(position.last_batch == 9);
  CHECK(state.batch_at(kStream, {1}) == 7);
  CHECK(state.facts(kStream).block_tokens == 16);
  CHECK(state.present(kStream) == 1);
  CHECK(state.take_moved() == std::vector{kStream});
  CHECK(state.take_moved().empty());
  check_index(state);
}

TEST_CASE("what a stream says of itself stays where others say less of it") {
  KvState state{{}};
  state.set_streams(std::vector{kStream});
  const std::vector changes{add(1)};
  state.observed(kStream, {{5}, {0}, {1}, changes, 7, {16, 3}});
  CHECK(state.take_delta(kStream, {{5}, {1}, {2}, changes, 8, {32}}) == Taken::changed);
  CHECK(state.facts(kStream) == StreamFacts{32, 3});
  CHECK(state.take_delta(kStream, {{5}, {2}, {3}, {}, 9, {}}) == Taken::changed);
  CHECK(state.facts(kStream) == StreamFacts{32, 3});
}

TEST_CASE("what an engine lost begins the interval anew, under another cache id") {
  KvState state{{}};
  state.set_streams(std::vector{kStream});
  state.observed(kStream, as_batches({5}, 0, 1, {add(1), add(2)}));
  const auto before = state.cache_of(kStream);
  CHECK(state.observed(kStream, as_batches({5}, 3, 4, {add(3)})) == Taken::changed);
  CHECK(!state.position(kStream).complete());
  CHECK(state.present(kStream) == 1);
  CHECK(state.cache_of(kStream) != before);
  CHECK(state.index().size() == 3);  // the old ones leave later
  check_index(state);
  CHECK(state.index().size() == 1);
}

TEST_CASE("after a batch that could not be read nothing from before it is claimed") {
  KvState state({});
  state.set_streams(std::vector{kStream});
  state.observed(kStream, as_batches({5}, 0, 1, {add(1), add(2)}));
  CHECK(state.observed(kStream, as_batches({5}, 2, 2, {}, 7)) == Taken::changed);
  const StreamPosition position = state.position(kStream);
  CHECK(position.end.value == 2);
  CHECK(position.base.value == 2);
  CHECK(position.last_batch == 7);
  CHECK(state.present(kStream) == 0);
  CHECK(state.observed(kStream, as_batches({5}, 2, 3, {add(3)})) == Taken::changed);
  CHECK(state.present(kStream) == 1);
}

TEST_CASE("a delta joins on or says that it does not; a new life's beginning replaces") {
  KvState state{{}};
  state.set_streams(std::vector{kStream});
  state.observed(kStream, as_batches({5}, 0, 3, {add(1)}));
  CHECK(state.take_delta(kStream, as_batches({5}, 4, 5, {add(2)})) == Taken::gap);
  CHECK(state.take_delta(kStream, as_batches({5}, 2, 4, {add(2)})) == Taken::gap);
  CHECK(state.take_delta(kStream, as_batches({5}, 1, 3, {add(2)})) == Taken::nothing_new);
  CHECK(state.take_delta(kStream, as_batches({6}, 3, 4, {add(2)})) == Taken::gap);
  CHECK(state.take_delta(kStream, as_batches({4}, 3, 4, {add(2)})) == Taken::older);
  CHECK(state.take_delta(kStream, as_batches({6}, 0, 1, {add(2)})) == Taken::changed);
  CHECK(state.position(kStream).epoch.value == 6);
  CHECK(state.present(kStream) == 1);
  CHECK(state.take_delta(kStream, as_batches({6}, 1, 2, {add(4)})) == Taken::changed);
  check_index(state);
}

TEST_CASE("a greater life without steps is taken, and said to have moved") {
  KvState unreadable{{}}, old{{}};
  for (KvState* state : {&unreadable, &old}) state->set_streams(std::vector{kStream});
  old.observed(kStream, as_batches({5}, 0, 5, {add(1)}));
  unreadable.observed(kStream, as_batches({9}, 5, 5, {}, 77));  // nothing before it is sure
  CHECK(old.take_moved().size() == 1);
  const auto cut = unreadable.cut(kStream);
  CHECK(old.take_state(kStream, cut->position, cut->facts, map_of(*cut)) == Taken::changed);
  CHECK(old.take_moved().size() == 1);
  CHECK(old.position(kStream) == unreadable.position(kStream));
}

TEST_CASE("an older complete state is brought up to now by the own log") {
  KvState complete{{}}, late{{}};
  for (KvState* state : {&complete, &late}) state->set_streams(std::vector{kStream});
  complete.observed(kStream, as_batches({5}, 0, 1, {add(1), add(2)}));
  complete.observed(kStream, as_batches({5}, 1, 2, {add(3)}));
  late.observed(kStream, as_batches({5}, 1, 2, {add(3)}));
  late.observed(kStream, as_batches({5}, 2, 3, {removal(1)}));
  CHECK(!late.position(kStream).complete());
  const auto cut = complete.cut(kStream);
  CHECK(late.take_state(kStream, cut->position, cut->facts, map_of(*cut)) == Taken::changed);
  CHECK(late.position(kStream).complete());
  CHECK(late.position(kStream).end.value == 3);
  CHECK(late.present(kStream) == 2);
  CHECK(late.take_state(kStream, cut->position, cut->facts, map_of(*cut)) == Taken::nothing_new);
  check_index(late);
}

TEST_CASE("a cut is shared while the log goes on from it") {
  KvState state{{.log_changes = 4}};
  state.set_streams(std::vector{kStream});
  CHECK(state.cut({"other", 0}) == nullptr);
  state.observed(kStream, as_batches({5}, 0, 1, {add(1)}));
  const auto first = state.cut(kStream);
  CHECK(state.cut(kStream) == first);
  state.observed(kStream, as_batches({5}, 1, 2, {add(2)}));
  CHECK(state.cut(kStream) == first);
  for (std::uint64_t step = 2; step < 8; ++step) {
    state.observed(kStream, as_batches({5}, step, step + 1, {add(10 + step)}));
  }
  const auto second = state.cut(kStream);
  CHECK(second != first);
  CHECK(second->position == state.position(kStream));
}

TEST_CASE("a renamed life keeps its blocks") {
  KvState state{{}};
  state.set_streams(std::vector{kStream});
  CHECK(!state.rename(kStream, {9}));
  state.observed(kStream, as_batches({5}, 0, 1, {add(1)}));
  CHECK(!state.rename(kStream, {5}));
  CHECK(state.rename(kStream, {9}));
  CHECK(state.position(kStream).complete());
  CHECK(state.observed(kStream, as_batches({5}, 1, 2, {add(2)})) == Taken::older);
  CHECK(state.observed(kStream, as_batches({9}, 1, 2, {add(2)})) == Taken::changed);
  CHECK(state.present(kStream) == 2);
}

TEST_CASE("who has stored in the shared medium is known, in one life of the engine") {
  KvState state{{}};
  const StreamKey a{"a", 0}, b{"b", 0};
  state.set_streams(std::vector{a, b});
  const auto shared = add(7, 0, policies::Medium::shared);
  state.observed(a, as_batches({5}, 0, 1, {shared}));
  state.observed(b, as_batches({5}, 0, 1, {add(7)}));
  CHECK(state.shares(a));
  CHECK_FALSE(state.shares(b));
  check_index(state);
  state.observed(a, as_batches({5}, 1, 2, {removal(7)}));
  CHECK(state.shares(a));  // the medium is there
  state.observed(a, as_batches({6}, 0, 1, {add(7)}));
  CHECK_FALSE(state.shares(a));
  CHECK_FALSE(state.shares({"nobody", 0}));
  check_index(state);
}

TEST_CASE("deeper blocks leave the index first and the stream says so") {
  KvState state{{.max_blocks = 1024}};
  state.set_streams(std::vector{kStream});
  std::vector<BlockChange> changes;
  for (std::uint16_t depth = 0; depth < 10; ++depth) {
    for (const BlockChange& change : many(1000 * (depth + 1), 95, depth)) changes.push_back(change);
  }
  state.observed(kStream, as_batches({5}, 0, 1, changes));
  for (int i = 0; i < 100; ++i) state.upkeep(64);
  const std::uint32_t limit = state.index().depth_limit();
  REQUIRE(limit < 10);
  CHECK(!state.indexed_whole(kStream));
  CHECK(state.position(kStream).complete());
  CHECK(state.index().size() <= 896);
  for (std::uint16_t depth = 0; depth < 10; ++depth) {
    CAPTURE(depth);
    CHECK(state.index().holds(EngineTwin::key_of(1000 * (depth + 1))) == (depth < limit));
  }
}

TEST_CASE("once there is room again, the blocks that were left out are in the index") {
  KvState state{{.max_blocks = 1024}};
  const StreamKey other{"other", 0};
  state.set_streams(std::vector{kStream, other});
  std::vector<BlockChange> changes;
  for (std::uint16_t depth = 0; depth < 10; ++depth) {
    for (const BlockChange& change : many(1000 * (depth + 1), 90, depth)) changes.push_back(change);
  }
  changes.push_back(add(20'000, 9, policies::Medium::shared));
  state.observed(kStream, as_batches({5}, 0, 1, changes));
  state.observed(other, as_batches({5}, 0, 1, many(30'000, 90, 8)));
  for (int i = 0; i < 200; ++i) state.upkeep(64);
  REQUIRE(!state.indexed_whole(kStream));
  const std::uint32_t limit = state.index().depth_limit();

  std::vector<BlockChange> removals;
  for (EngineHash hash = 1000; hash < 1090; ++hash) removals.push_back(removal(hash));
  state.observed(kStream, as_batches({5}, 1, 2, removals));
  for (int i = 0; i < 200; ++i) state.upkeep(64);
  CHECK(state.index().depth_limit() == limit);  // not at each block that goes
  removals.clear();
  for (EngineHash hash = 2000; hash < 2090; ++hash) removals.push_back(removal(hash));
  for (EngineHash hash = 3000; hash < 3090; ++hash) removals.push_back(removal(hash));
  for (EngineHash hash = 4000; hash < 4090; ++hash) removals.push_back(removal(hash));
  state.observed(kStream, as_batches({5}, 2, 3, removals));
  state.upkeep(64);
  CHECK(state.index().depth_limit() > 10);
  CHECK(!state.indexed_whole(kStream));  // piece by piece
  state.observed(kStream, as_batches({5}, 3, 4, {removal(10'000), add(40'000, 11)}));
  for (int i = 0; i < 30; ++i) state.upkeep(64);
  CHECK(state.indexed_whole(kStream));
  CHECK(state.indexed_whole(other));
  check_index(state);
  state.observed(kStream, as_batches({5}, 4, 5, {removal(20'000)}));
  check_index(state);
}

TEST_CASE("ids are told apart until their blocks have left") {
  KvState state{{}};
  state.set_streams(std::vector{kStream});
  for (std::uint64_t life = 1; life < 9000; ++life) {
    state.observed(kStream, as_batches({life}, 0, 1, {add(life)}));
    CHECK(index_has(state, EngineTwin::key_of(life), *state.cache_of(kStream)));
  }
  check_index(state);
  CHECK(state.index().size() == 1);
}

TEST_CASE("whatever comes in whatever order, the maps are true and the index follows them") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    EngineTwin engine(1, 100, {});
    KvLimits limits;
    limits.log_changes = 64;
    std::vector<std::unique_ptr<KvState>> nodes;
    for (int i = 0; i < 3; ++i) {
      nodes.push_back(std::make_unique<KvState>(limits));
      nodes.back()->set_streams(std::vector{kStream});
    }
    for (int turn = 0; turn < 400; ++turn) {
      if (random() % 150 == 0) engine.restart(engine.life().epoch.value + 1000);
      engine.produce(random);
      KvState& node = *nodes[random() % nodes.size()];
      KvState& other = *nodes[random() % nodes.size()];
      const EngineLife& life = engine.life();
      const std::uint64_t known =
          node.position(kStream).epoch == life.epoch ? node.position(kStream).end.value : 0;
      if (random() % 3 > 0) {  // observes, perhaps with a gap
        std::uint64_t from = known + (random() % 8 == 0 ? random() % 3 : 0);
        for (; from < life.end(); ++from) {
          const auto changes = EngineTwin::translate(
              life.batches[from],
              node.position(kStream).epoch == life.epoch ? node.map(kStream) : nullptr);
          node.observed(kStream,
                        as_batches(life.epoch, from, from + 1, changes, life.digest(from + 1)));
        }
      } else if (const auto cut = random() % 2 == 0 ? other.cut(kStream) : nullptr) {
        node.take_state(kStream, cut->position, cut->facts, map_of(*cut));
      } else if (const auto since = other.changes_since(kStream, {known}, random() % 40)) {
        node.take_delta(kStream, {other.position(kStream).epoch,
                                  since->from,
                                  since->to,
                                  since->changes,
                                  since->last_batch,
                                  {}});
      }
      for (const EngineLife& lived : engine.lives()) {
        if (lived.epoch != node.position(kStream).epoch) continue;
        const std::uint64_t end = node.position(kStream).end.value;
        std::size_t present = 0;
        node.map(kStream)->for_each([&](EngineHash key, const BlockMap::Entry& entry) {
          if (entry.present()) CHECK(lived.held(key, end));
          present += entry.present();
        });
        if (node.map(kStream)->complete()) {
          std::size_t held = 0;
          for (const auto& [key, copies] : lived.copies) held += lived.held(key, end);
          CHECK(present == held);
        }
      }
      if (turn % 20 == 0) check_index(node);
    }
    for (const auto& node : nodes) check_index(*node);
  }
}
