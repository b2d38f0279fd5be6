// Which prompts the mesh is told of again, against a twin that remembers every one.
#include "node/router/told_placements.h"

#include <doctest/doctest.h>

#include <map>
#include <numeric>
#include <random>

#include "node/router/shared_residency.h"

namespace dualmesh::node {
namespace {

using namespace std::chrono_literals;
using Blocks = std::vector<policies::BlockKey>;

constexpr std::uint64_t kMostSince = 40;
constexpr policies::Duration kAgain = 10s;
constexpr policies::Time kNever = 0s;

class Twin {
 public:
  bool told_lately(policies::Slot slot, const Blocks& blocks, policies::Time now) const {
    const auto known = told_.find({slot, blocks.back()});
    return known != told_.end() && now - known->second.first < kAgain &&
           count_.at(slot) - known->second.second <= kMostSince;
  }
  void told(policies::Slot slot, const Blocks& blocks, policies::Time now) {
    count_[slot] += blocks.size();
    told_[{slot, blocks.back()}] = {now, count_[slot]};
  }
  void others_told(policies::Slot slot, const Blocks& blocks, policies::Time now) {
    count_[slot] += blocks.size();
    for (const policies::BlockKey block : blocks) {
      const auto known = told_.find({slot, block});
      if (known != told_.end()) known->second = {now, count_[slot]};
    }
  }
  void forget(policies::Slot slot) {
    for (auto& [prompt, told] : told_) {
      if (prompt.first == slot) told.first = kNever;  // until somebody tells of it again
    }
  }

 private:
  std::map<std::pair<policies::Slot, policies::BlockKey>, std::pair<policies::Time, std::uint64_t>>
      told_;
  std::map<policies::Slot, std::uint64_t> count_;
};

std::vector<LocalPlacement> taken(SharedResidency& residency) {
  std::vector<LocalPlacement> placements;
  residency.take_placements(placements);
  return placements;
}

}  // namespace

TEST_CASE("told placements: as a twin that remembers all") {
  for (std::uint32_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    ToldPlacements told(kMostSince, kAgain);
    Twin twin;
    policies::Time now = 100s;
    std::size_t lately = 0, repeated = 0;
    for (int step = 0; step < 5'000; ++step) {
      now += std::chrono::milliseconds(random() % 500);
      const auto slot = static_cast<policies::Slot>(random() % 3);
      switch (random() % 20) {
        case 0: {
          Blocks theirs(5);
          for (auto& block : theirs) block = random() % 400;
          told.others_told(slot, theirs, now);
          twin.others_told(slot, theirs, now);
          continue;
        }
        case 1:
          if (random() % 10 != 0) continue;
          told.forget(slot);
          twin.forget(slot);
          continue;
      }
      Blocks blocks(1 + random() % 3);
      for (auto& block : blocks) block = random() % 400;
      const bool known = twin.told_lately(slot, blocks, now);
      const bool tells = told.tell(slot, blocks, now);
      if (!known) CHECK(tells);
      if (known) ++lately;
      if (known && tells) ++repeated;
      if (tells) twin.told(slot, blocks, now);
    }
    CHECK(lately > 100);
    CHECK(repeated * 10 <= lately);  // five prompts in one place
  }
}

TEST_CASE("residency: a prompt in steady use is told once and again after a while") {
  SharedResidency residency({.capacity_blocks = 100, .time_to_live = 60s});
  const Blocks prompt{1, 2, 3};
  const auto tells = [&](policies::Slot slot, const Blocks& blocks, policies::Time now) {
    residency.placed_here(slot, blocks, now);
    return taken(residency).size() == 1;
  };
  CHECK(tells(0, prompt, 100s));
  CHECK_FALSE(tells(0, prompt, 105s));
  CHECK(tells(1, prompt, 105s));  // another instance
  CHECK(tells(0, Blocks{1, 2, 3, 4}, 105s));
  CHECK(tells(0, prompt, 110s));
  SUBCASE("sooner when so many others were told that somebody might forget it") {
    residency.placed_elsewhere(0, Blocks(50, 7), 111s);
    CHECK_FALSE(tells(0, prompt, 111s));
    residency.placed_elsewhere(0, Blocks{8}, 111s);
    CHECK(tells(0, prompt, 111s));
  }
  SUBCASE("at once to an instance that has come back") {
    residency.forget(0);
    CHECK(tells(0, prompt, 111s));
  }
  SUBCASE("or has lost some") {
    residency.forget_older(0, 30s, 111s);
    CHECK(tells(0, prompt, 111s));
  }
  SUBCASE("and under keys of another kind") {
    residency.forget_all();
    CHECK(tells(0, prompt, 111s));
  }
}

TEST_CASE("residency: what another node told of lately is not told once more") {
  SharedResidency residency({.capacity_blocks = 100, .time_to_live = 60s});
  const Blocks prompt{1, 2, 3};
  CHECK(residency.placed_here(0, prompt, 100s).to_tell);
  residency.placed_elsewhere(0, prompt, 109s);
  CHECK_FALSE(residency.placed_here(0, prompt, 111s).to_tell);
  residency.placed_elsewhere(0, Blocks{1, 2, 3, 4}, 118s);  // all of it, and more
  residency.placed_elsewhere(1, prompt, 120s);
  residency.placed_elsewhere(0, Blocks{1, 2}, 120s);  // not all of it
  CHECK_FALSE(residency.placed_here(0, prompt, 127s).to_tell);
  CHECK(residency.placed_here(0, prompt, 128s).to_tell);
}

TEST_CASE("residency: what was dropped before the mesh heard of it is told when it is used again") {
  SharedResidency residency({.capacity_blocks = 10'000, .time_to_live = 60s}, 100);
  std::vector<Blocks> prompts;
  for (policies::BlockKey first = 0; first < 300; first += 10) {
    prompts.emplace_back(10);
    std::iota(prompts.back().begin(), prompts.back().end(), first);
    residency.placed_here(0, prompts.back(), 100s);
  }
  CHECK(taken(residency).size() == 10);  // the newest
  std::size_t again = 0;
  for (std::size_t i = 0; i < 10; ++i) again += residency.placed_here(0, prompts[i], 101s).to_tell;
  CHECK(again == 10);
}

}  // namespace dualmesh::node
