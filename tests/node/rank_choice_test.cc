// Which rank of an instance a request goes to, what is expected of it, and how far a rank that has
// its prefix may be loaded.
#include "node/router/rank_choice.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "tests/node/cache_knowledge_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;
using namespace std::chrono_literals;
using policies::HitSource;
using Hits = std::vector<std::uint32_t>;

namespace {

// One instance with these ranks, rank r in cache r + 1.
struct Ranks : CacheScene {
  explicit Ranks(const std::vector<HitSource>& confidences) : CacheScene({confidences.at(0)}) {
    for (std::uint32_t rank = 1; rank < confidences.size(); ++rank) {
      view.caches.push_back({0, rank, confidences[rank], kBlock});
    }
    show();
  }
  const RankChoice& choice() const { return ranks.of_instances.at(0); }
};

const std::vector<HitSource> kFour(4, HitSource::exact);

}  // namespace

TEST_CASE("a request goes to the rank that has most, and that is expected of it") {
  Ranks scene(kFour);
  scene.hold(2, 3);
  scene.hold(3, 7);
  const policies::Arrival arrival = scene.look_up();
  CHECK(arrival.hit_tokens == Hits{7 * kBlock});
  CHECK(arrival.hit_sources[0] == HitSource::exact);
  CHECK(scene.choice().rank == 2);
  CHECK(scene.choice().anywhere_tokens == 10 * kBlock / 4);
}

TEST_CASE("where no rank has more than another the engine chooses, and the mean is expected") {
  Ranks scene(kFour);
  CHECK(scene.look_up().hit_tokens == Hits{0});
  CHECK(scene.choice().rank == std::nullopt);
  for (const policies::CacheId cache : {1, 2, 3, 4}) scene.hold(cache, 5);
  CHECK(scene.look_up().hit_tokens == Hits{5 * kBlock});
  CHECK(scene.choice().rank == std::nullopt);
  // No header for one rank.
  CacheScene one({HitSource::exact});
  one.hold(1, 5);
  CHECK(one.look_up().hit_tokens == Hits{5 * kBlock});
  CHECK(one.ranks.of_instances.empty());
}

TEST_CASE("the client's choice stands, and is what counts") {
  Ranks scene(kFour);
  scene.hold(2, 3);
  scene.hold(3, 7);
  for (const std::uint32_t wanted : {0, 1, 2}) {
    scene.ranks.wanted = wanted;
    CHECK(scene.look_up().hit_tokens == Hits{wanted == 1 ? 3 * kBlock : wanted == 2 ? 112 : 0});
    CHECK(scene.choice().rank == wanted);
  }
  scene.ranks.wanted = read_rank("none");
  CHECK(scene.look_up().hit_tokens == Hits{10 * kBlock / 4});
  CHECK(scene.choice().rank == std::nullopt);
  CHECK(read_rank("3") == 3);
  for (const char* text : {"", "-1", "1x", "99999999999"}) CHECK(read_rank(text) == UINT32_MAX);
}

TEST_CASE("without certainty no rank is chosen, and the mean is as sure as its least known rank") {
  Ranks scene({HitSource::exact, HitSource::degraded});
  scene.hold(1, 3);
  scene.hold(2, 7);
  CHECK(scene.look_up().hit_tokens == Hits{5 * kBlock});
  CHECK(scene.look_up().hit_sources[0] == HitSource::degraded);
  CHECK(scene.choice().rank == std::nullopt);
  // Not all of its tokens are known.
  Ranks beginning({HitSource::exact, HitSource::exact});
  beginning.hold(2, 4);
  CHECK(beginning.look_up(400, 100).hit_tokens == Hits{2 * kBlock});
  CHECK(beginning.choice().rank == std::nullopt);
}

TEST_CASE("one rank that is known for certain is enough, though of another nothing was heard") {
  Ranks scene({HitSource::exact, HitSource::unknown});
  scene.hold(1, 3);
  const policies::Arrival arrival = scene.look_up();
  CHECK(arrival.hit_tokens == Hits{3 * kBlock});
  CHECK(arrival.hit_sources[0] == HitSource::exact);
  CHECK(scene.choice().rank == 0);
  CHECK(scene.choice().anywhere_source == HitSource::unknown);
}

TEST_CASE("what was placed lately lies in one rank, which one is not known before it is said") {
  Ranks scene(kFour);
  scene.place(0, 3);
  CHECK(scene.look_up().hit_tokens == Hits{3 * kText / 4});
  scene.hold(3, 3 * kText / kBlock);
  CHECK(scene.look_up().hit_tokens == Hits{3 * kText});
  CHECK(scene.choice().rank == 2);
  CHECK(scene.choice().anywhere_tokens == 3 * kText / 4);
  Ranks unknown(std::vector<HitSource>(2, HitSource::unknown));
  unknown.place(0, 4, kNow - 60s);
  CHECK(unknown.look_up().hit_tokens == Hits{4 * kText / 2});
}

TEST_CASE(
    "of several ranks with the same prefix the one with least is chosen, as long as one has "
    "room") {
  Ranks scene(kFour);
  scene.hold(2, 9);
  scene.hold(3, 9);
  std::vector<std::uint32_t> sent(4);
  RankLoad& load = scene.knowledge.rank_load();
  const auto send_two = [&] {
    for (int i = 0; i < 2; ++i) {
      scene.look_up();
      REQUIRE(scene.choice().rank);
      CHECK(load.enter(scene.choice(), false));
      ++sent[*scene.choice().rank];
    }
    CHECK(scene.look_up().hit_tokens == Hits{18 * kBlock / 4});
    CHECK(scene.choice().rank == std::nullopt);
  };
  send_two();
  CHECK(sent == std::vector<std::uint32_t>{0, 1, 1, 0});          // one in any case
  for (int i = 0; i < 4; ++i) load.enter(scene.choice(), false);  // where the engine likes
  send_two();
  CHECK(sent == std::vector<std::uint32_t>{0, 2, 2, 0});  // 5/4 of 7/4, then of 8/4
}

TEST_CASE("a prefix that all share draws little more than an even share to its rank") {
  std::mt19937 random(7);
  for (const std::uint32_t ranks : {2, 4, 8}) {
    RankLoad load;
    const std::vector<std::uint32_t> only{1};
    std::vector<std::optional<std::uint32_t>> live;
    std::size_t most = 0;
    for (int i = 0; i < 4'000; ++i) {
      if (live.size() < 40 || (live.size() < 80 && random() % 2 > 0)) {
        RankChoice choice{.slot = 5, .instance = 5, .ranks = ranks};
        choice.rank = load.pick(5, ranks, only);
        REQUIRE(load.enter(choice, false));
        live.push_back(choice.rank);
      } else {
        std::swap(live[random() % live.size()], live.back());
        load.leave(5, live.back());
        live.pop_back();
      }
      const auto named = live.size() - std::count(live.begin(), live.end(), std::nullopt);
      most = std::max<std::size_t>(most, named);
    }
    CHECK(most <= 80 * 5 / 4 / ranks);
    CHECK(most >= 40 / ranks);
    for (const auto& rank : live) load.leave(5, rank);
    CHECK(load.size() == 0);
  }
}

TEST_CASE("a choice is taken back when its rank has filled meanwhile; a client's is not") {
  RankLoad load;
  const RankChoice choice{.slot = 1, .instance = 1, .ranks = 8, .rank = 3};
  int had_room = 0;
  for (int i = 0; i < 16; ++i) had_room += load.enter(choice, false);
  CHECK(had_room == 2);  // the first, and the 13th: 5/4 of 13/8
  CHECK(load.enter(choice, true));
  RankPlace place;
  CHECK_FALSE(place.enter(load, choice, false));
  CHECK(place.rank() == std::nullopt);
  CHECK(place.enter(load, choice, true));
  CHECK(place.rank() == 3);
  place.leave();
  CHECK(place.rank() == std::nullopt);
}

TEST_CASE("an engine that does not heed the header is hardly ever sent one, until it does") {
  RankLoad load;
  const std::vector<std::uint32_t> two{2};
  // Of requests that come one after the other.
  const auto picks = [&] {
    int picked = 0;
    for (int i = 0; i < 640; ++i) {
      RankChoice choice{.slot = 1, .instance = 3, .ranks = 4};
      choice.rank = load.pick(3, 4, two);
      picked += choice.rank.has_value();
      load.enter(choice, false);
      load.leave(3, choice.rank);
    }
    return picked;
  };
  for (int i = 0; i < 7; ++i) load.turned_out(3, false);
  CHECK(picks() == 640);
  load.turned_out(3, false);
  CHECK(picks() == 10);
  int picked = 0;  // for nobody: peers ask what could be expected here
  for (int i = 0; i < 640; ++i) picked += load.pick(3, 4, two).has_value();
  CHECK(picked == 0);
  CHECK(picks() == 10);
  CHECK(load.pick(4, 4, two) == 2);  // another instance, were it at the same slot
  for (int i = 0; i < 5; ++i) load.turned_out(3, true);
  CHECK(picks() == 640);
  // It may lose a block now and then.
  for (int i = 0; i < 1'000; ++i) load.turned_out(3, i % 3 > 0);
  CHECK(picks() == 640);
}

TEST_CASE("an engine that is another now, or was gone, is not judged by what was there before") {
  const std::vector<std::uint32_t> two{2};
  RankLoad load;
  policies::FleetView view;
  view.instances.resize(6);
  for (policies::Slot slot = 0; slot < 4; ++slot) {
    policies::InstanceView& instance = view.instances[slot];
    instance.slot = slot;
    instance.id = 100 + slot;
    instance.lifecycle = policies::Lifecycle::active;
  }
  const auto trusted = [&] {
    std::vector<policies::InstanceId> ids;
    for (policies::InstanceId id = 100; id < 105; ++id) {
      if (load.pick(id, 4, two)) ids.push_back(id);
    }
    return ids;
  };
  using Ids = std::vector<policies::InstanceId>;
  for (policies::InstanceId id = 100; id < 105; ++id) {
    for (int i = 0; i < 8; ++i) load.turned_out(id, false);
  }
  CHECK(trusted().empty());
  load.forget(100);
  CHECK(trusted() == Ids{100});
  view.instances[1].lifecycle = policies::Lifecycle::removed;
  view.instances[2].lifecycle = policies::Lifecycle::draining;
  load.forget_all_but(view);
  CHECK(trusted() == Ids{100, 101, 104});
  view.instances.clear();
  load.forget_all_but(view);
  CHECK(trusted() == Ids{100, 101, 102, 103, 104});
}
