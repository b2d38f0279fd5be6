#include "policies/residency_index.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// The same promise, written for reading: per slot a list of (block, last touch), newest first.
struct NaiveIndex {
  ResidencyIndex::Limits limits;
  std::map<Slot, std::list<std::pair<BlockKey, Time>>> slots;

  void touch(Slot slot, const std::vector<BlockKey>& blocks, Time now) {
    auto& list = slots[slot];
    for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
      list.remove_if([&](const auto& entry) { return entry.first == *block; });
      list.emplace_front(*block, now);
      if (list.size() > limits.capacity_blocks) list.pop_back();
    }
  }
  void expire(Time now) {
    for (auto& [slot, list] : slots) {
      list.remove_if([&](const auto& e) { return now - e.second >= limits.time_to_live; });
    }
  }
  std::uint32_t hits(Slot slot, const std::vector<BlockKey>& blocks) {
    const auto& list = slots[slot];
    std::uint32_t hit = 0;
    while (hit < blocks.size() && std::any_of(list.begin(), list.end(), [&](const auto& entry) {
             return entry.first == blocks[hit];
           })) {
      ++hit;
    }
    return hit;
  }
  std::optional<Duration> age_of_prefix(Slot slot, const std::vector<BlockKey>& blocks, Time now) {
    const std::uint32_t held = hits(slot, blocks);
    for (const auto& [block, touched] : slots[slot]) {
      if (held > 0 && block == blocks[held - 1]) return now - touched;
    }
    return {};
  }
  // Does it have to, for those that it does not hold?
  bool gives_up(Slot slot, const std::vector<BlockKey>& blocks) {
    const auto missing = std::ranges::count_if(blocks, [&](BlockKey block) {
      return std::ranges::none_of(slots[slot], [&](const auto& e) { return e.first == block; });
    });
    return slots[slot].size() + static_cast<std::size_t>(missing) > limits.capacity_blocks;
  }
  std::size_t size() const {
    std::size_t total = 0;
    for (const auto& [slot, list] : slots) total += list.size();
    return total;
  }
};

}  // namespace

TEST_CASE("any history answers as the naive index does") {
  std::mt19937 random(11);
  for (int round = 0; round < 30; ++round) {
    const ResidencyIndex::Limits limits{5 + static_cast<std::uint32_t>(random() % 30), 10s};
    ResidencyIndex index(limits);
    NaiveIndex naive{limits, {}};
    Time now = 100s;
    const auto some_prompt = [&] {
      std::vector<BlockKey> blocks;  // a path in a small tree
      BlockKey at = 1;
      for (std::size_t i = random() % 12; i > 0; --i) {
        at = at * 3 + random() % 2;
        blocks.push_back(at);
      }
      return blocks;
    };
    for (int step = 0; step < 300; ++step) {
      now += std::chrono::milliseconds(random() % 400);
      const Slot slot = random() % 6;
      const auto what = random() % 20;
      if (what == 0) {
        index.forget(slot);
        naive.slots[slot].clear();
      } else if (what < 4) {
        index.expire(now, 1'000'000);
        naive.expire(now);
      } else {
        const auto blocks = some_prompt();
        const auto age_before = naive.age_of_prefix(slot, blocks, now);
        const bool gives_up = naive.gives_up(slot, blocks);
        const auto age = index.touch(slot, blocks, now);
        if (!gives_up) CHECK(age == age_before);
        naive.touch(slot, blocks, now);
      }
      const auto probe = some_prompt();
      std::vector<std::uint32_t> hits;
      index.longest_prefix(probe, hits);
      hits.resize(6);
      for (Slot s = 0; s < 6; ++s) {
        REQUIRE(hits[s] == naive.hits(s, probe));
        REQUIRE(index.size(s) == naive.slots[s].size());
      }
      REQUIRE(index.size() == naive.size());
    }
  }
}

TEST_CASE("when an instance is full, the end of a prompt goes before its beginning") {
  ResidencyIndex index({4, 10s});
  const std::vector<BlockKey> longer{1, 2, 3, 4, 5, 6};
  index.touch(0, longer, 0s);
  std::vector<std::uint32_t> hits;
  index.longest_prefix(longer, hits);
  CHECK(hits[0] == 4);
}

TEST_CASE("expiry does at most as much as it was allowed and gets everywhere") {
  ResidencyIndex index({100, 10s});
  for (Slot slot = 0; slot < 5; ++slot) {
    index.touch(slot, std::vector<BlockKey>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 0s);
  }
  std::size_t before = index.size();
  for (int calls = 0; calls < 8; ++calls) {
    index.expire(10s, 7);
    CHECK(index.size() == (before < 7 ? 0 : before - 7));
    before = index.size();
  }
  CHECK(index.size() == 0);
}

TEST_CASE("a touch keeps a placement alive") {
  ResidencyIndex index({100, 10s});
  index.touch(1, std::vector<BlockKey>{1, 2}, 0s);
  index.touch(1, std::vector<BlockKey>{1}, 8s);
  index.expire(12s, 100);
  std::vector<std::uint32_t> hits;
  index.longest_prefix(std::vector<BlockKey>{1, 2}, hits);
  CHECK(hits == std::vector<std::uint32_t>{0, 1});
}
