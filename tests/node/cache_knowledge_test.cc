// CacheKnowledge: hits by what is known of each cache, exact, degraded, predicted or unknown.
#include <doctest/doctest.h>

#include "policies/hits.h"
#include "tests/node/cache_knowledge_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;
using namespace std::chrono_literals;
using policies::HitSource;
using policies::Medium;
using policies::TokenId;

TEST_CASE("without events everything is predicted, by blocks of text") {
  CacheScene scene({});
  CHECK(scene.knowledge.view() == nullptr);
  CHECK_FALSE(scene.knowledge.wants_tokens());
  scene.place(2, 3);
  const policies::Arrival arrival = scene.look_up();
  CHECK(arrival.hit_tokens == std::vector<std::uint32_t>{0, 0, 3 * kText});
  CHECK(arrival.hit_sources.empty());
  CHECK(arrival.input_tokens == 400);
}

TEST_CASE("exact: what the index holds, not what was placed there long ago") {
  CacheScene scene({HitSource::exact, HitSource::exact});
  scene.hold(1, 5);
  scene.place(0, 6, kNow - 20s);
  scene.place(1, 6, kNow - 20s);
  scene.residency.expire(kNow, 1'000);
  const policies::Arrival arrival = scene.look_up();
  CHECK(arrival.hit_tokens == std::vector<std::uint32_t>{5 * kBlock, 0});
  CHECK(arrival.hit_sources == std::vector<HitSource>(2, HitSource::exact));
}

TEST_CASE("exact: siblings of a burst find what was placed in the last seconds") {
  CacheScene scene({HitSource::exact, HitSource::exact});
  scene.place(1, 3);
  CHECK(scene.look_up().hit_tokens == std::vector<std::uint32_t>{0, 3 * kText});
  scene.hold(2, 20);  // the events have come, and say more
  CHECK(scene.look_up().hit_tokens[1] == 20 * kBlock);
  scene.residency.expire(kNow + 5s, 1'000);
  CHECK(scene.look_up().hit_tokens[1] == 20 * kBlock);
  // Nobody wants it kept where there are no events.
  CacheScene blind({});
  blind.place(1, 3);
  std::vector<std::uint32_t> recent;
  blind.residency.longest_recent_prefix(std::vector<policies::BlockKey>{1, 2, 3}, recent);
  CHECK(std::accumulate(recent.begin(), recent.end(), 0U) == 0);
}

TEST_CASE("exact: what was placed lately, came and is gone already is not expected") {
  CacheScene scene({HitSource::exact, HitSource::exact});
  scene.place(0, 6, kNow - 2s);
  scene.hold(1, 4);  // of the 24 that came the others are gone
  const std::vector<std::uint32_t> placed{6 * kText, 0}, held{4 * kBlock, 0};
  CHECK(scene.look_up().hit_tokens == placed);
  scene.removals.removed(scene.keys(5).back(), 2, kNow - 1s);  // of another cache
  CHECK(scene.look_up().hit_tokens == placed);
  scene.removals.removed(scene.keys(5).back(), 1, kNow - 3s);  // before it was placed
  CHECK(scene.look_up().hit_tokens == placed);
  scene.removals.removed(scene.keys(5).back(), 1, kNow - 1s);
  CHECK(scene.look_up().hit_tokens == held);
  scene.place(0, 6, kNow);  // once more
  CHECK(scene.look_up().hit_tokens == placed);
  scene.removals.removed(policies::RemovalMarks::kAll, 1, kNow + 1s);  // the cache was emptied
  CHECK(scene.look_up().hit_tokens == held);
}

TEST_CASE("degraded: the longer of index and prediction; unknown and others: the prediction") {
  CacheScene scene({HitSource::degraded, HitSource::degraded, HitSource::unknown});
  scene.hold(1, 2);
  scene.hold(2, 24);
  scene.hold(3, 24);  // it says nothing worth believing
  for (const policies::Slot slot : {0, 1, 2, 3}) scene.place(slot, 2, kNow - 60s);
  const policies::Arrival arrival = scene.look_up();
  CHECK(arrival.hit_tokens ==
        std::vector<std::uint32_t>{2 * kText, 24 * kBlock, 2 * kText, 2 * kText});
  CHECK(arrival.hit_sources ==
        std::vector<HitSource>{HitSource::degraded, HitSource::degraded, HitSource::unknown});
  CHECK(policies::hit_source(arrival, 3) == HitSource::predicted);
}

TEST_CASE("the last token is always computed, so a hit leaves a block out") {
  for (const std::size_t tokens : {160, 161, 175}) {
    CacheScene scene({HitSource::exact});
    scene.hold(1, 25);
    const auto whole = static_cast<std::uint32_t>((tokens - 1) / kBlock * kBlock);
    CHECK(scene.look_up(tokens, tokens).hit_tokens[0] == whole);
  }
  CacheScene scene({HitSource::exact});
  scene.place(0, 2);
  CHECK(scene.look_up(128, 128).hit_tokens[0] == 127);
}

TEST_CASE("of an adapter nothing is expected where only its model's blocks are held") {
  CacheScene scene({HitSource::exact, HitSource::exact});
  scene.hold(1, 5);
  const std::vector<std::uint32_t> held{5 * kBlock, 0}, none{0, 0};
  CHECK(scene.look_up().hit_tokens == held);
  scene.knowledge.set_kinds({{"m", true}});
  CHECK(scene.look_up().hit_tokens == none);
  scene.hold(2, 3, "m");
  CHECK(scene.look_up().hit_tokens == std::vector<std::uint32_t>{0, 3 * kBlock});
  scene.knowledge.set_kinds({{"another", true}});  // nobody says: its blocks do
  CHECK(scene.look_up().hit_tokens == std::vector<std::uint32_t>{0, 3 * kBlock});
  CHECK(scene.look_up().hit_sources[1] == HitSource::exact);
}

TEST_CASE("of a model that no instance has named yet nothing is expected by others' blocks") {
  CacheScene scene({HitSource::exact, HitSource::degraded});
  scene.hold(1, 5);
  scene.place(1, 2, kNow - 60s);
  scene.knowledge.set_kinds({{"another", false}});
  const policies::Arrival arrival = scene.look_up();
  CHECK(arrival.hit_tokens == std::vector<std::uint32_t>{0, 2 * kText});
  CHECK(arrival.hit_sources == std::vector<HitSource>(2, HitSource::unknown));
}

TEST_CASE("adapters, salts and block sizes do not meet") {
  CacheScene scene({HitSource::exact, HitSource::exact, HitSource::exact});
  scene.hold(1, 4, "m");
  scene.hold(2, 9, "another");
  CHECK(scene.look_up().hit_tokens == std::vector<std::uint32_t>{4 * kBlock, 0, 0});
  CacheScene salted({HitSource::exact, HitSource::exact});
  salted.hold(1, 4, {}, "s");
  salted.hold(2, 3);
  CHECK(salted.look_up(400, 400, "s").hit_tokens == std::vector<std::uint32_t>{4 * kBlock, 0});
  CHECK(salted.look_up().hit_tokens == std::vector<std::uint32_t>{0, 3 * kBlock});
  CacheScene sizes({HitSource::exact, HitSource::exact});
  sizes.view.caches[2].block_tokens = 64;
  sizes.show();
  sizes.hold(1, 4);
  sizes.hold(2, 4, {}, {}, 64);
  CHECK(sizes.look_up().hit_tokens == std::vector<std::uint32_t>{4 * 16, 4 * 64});
}

TEST_CASE("media are weighed, and a shared one counts for those that serve the model and have it") {
  CacheScene scene(std::vector<HitSource>(5, HitSource::exact));
  // Slot 4 serves another model, whose tokens are the same; slot 3 has no such medium.
  policies::FleetView fleet;
  fleet.models["m"].serving = {0, 1, 2, 3};
  fleet.models["other"].serving = {4};
  for (const policies::CacheId cache : {1, 2, 3, 5}) scene.view.caches[cache].shares = true;
  const auto show = [&] {
    scene.view.derive_groups(fleet);
    scene.show();
    return scene.look_up().hit_tokens;
  };
  scene.hold(3, 10, {}, {}, kBlock, Medium::shared);
  scene.hold(1, 4);
  scene.hold(4, 4);
  const std::uint32_t half = 10 * kBlock / 2;
  CHECK(show() == std::vector<std::uint32_t>{4 * kBlock + 3 * kBlock, half, half, 4 * kBlock, 0});
  // What another model's instance has stored there is of another cache.
  scene.hold(5, 20, {}, {}, kBlock, Medium::shared);
  const std::vector<std::uint32_t> hits = show();
  CHECK(hits[1] == half);
  // Nobody has shown to have one but who stored: its own.
  for (const policies::CacheId cache : {1, 2, 5}) scene.view.caches[cache].shares = false;
  CHECK(show()[1] == 0);
  CHECK(show()[2] == half);
}

TEST_CASE("only a beginning is known: as far as it goes, and predictions beyond") {
  CacheScene scene({HitSource::exact, HitSource::exact});
  scene.hold(1, 25);
  scene.hold(2, 2);
  for (const policies::Slot slot : {0, 1}) scene.place(slot, 5, kNow - 60s);
  scene.residency.expire(kNow, 0);
  const policies::Arrival arrival = scene.look_up(400, 100);
  CHECK(arrival.hit_tokens[0] == 5 * kText);
  CHECK(arrival.hit_sources[0] == HitSource::degraded);
}

TEST_CASE("tokens not known: predicted, whatever is published") {
  CacheScene scene({HitSource::exact});
  scene.hold(1, 25);
  scene.place(0, 2);
  const policies::Arrival arrival = scene.look_up(400, 0);
  CHECK(arrival.hit_tokens == std::vector<std::uint32_t>{2 * kText});
  CHECK(policies::hit_source(arrival, 0) == HitSource::predicted);
}

TEST_CASE("a block of text is worth the tokens it has turned out to be") {
  CacheScene scene({HitSource::unknown});
  scene.place(0, 2);
  policies::Arrival arrival = scene.arrival(400);
  arrival.chain.bytes = 800;  // two bytes to a token
  scene.knowledge.look_up(arrival, {scene.ids, 400, {}, kBytes}, scene.ranks);
  CHECK(arrival.block_tokens == 2 * kText);
  CHECK(arrival.hit_tokens[0] == 2 * 2 * kText);
}

TEST_CASE("wanted are the tokens of models of which some instance publishes events") {
  CacheScene scene({HitSource::unknown});
  policies::FleetView fleet;
  fleet.models["m"].serving = {3, 0};
  fleet.models["other"].serving = {1, 2};
  CHECK(scene.knowledge.wants_tokens(fleet, "m"));
  CHECK_FALSE(scene.knowledge.wants_tokens(fleet, "other"));
  CHECK_FALSE(scene.knowledge.wants_tokens(fleet, "nobody's"));
}
