#include "policies/block_index.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace dualmesh::policies {
namespace {

using Pair = std::pair<BlockKey, CacheId>;

// The naive twin: every (key, cache) with its media.
struct Twin {
  std::map<Pair, std::set<Medium>> held;

  std::set<Medium> media(BlockKey key, CacheId cache) const {
    const auto found = held.find({key, cache});
    return found == held.end() ? std::set<Medium>{} : found->second;
  }
  bool is_shared(BlockKey key, const CacheGroup& group) const {
    for (CacheId cache = 1; cache < 100; ++cache) {
      if (group.test(cache) && media(key, cache).contains(Medium::shared)) return true;
    }
    return false;
  }
  void add(BlockKey key, CacheId cache, Medium medium) { held[{key, cache}].insert(medium); }
  void remove(BlockKey key, CacheId cache, Medium medium) {
    const auto found = held.find({key, cache});
    if (found == held.end()) return;
    found->second.erase(medium);
    if (found->second.empty()) held.erase(found);
  }
  bool holds(BlockKey key) const {
    const auto next = held.lower_bound({key, 0});
    return next != held.end() && next->first.first == key;
  }
  std::vector<CacheMatch> longest_prefix(std::span<const BlockKey> keys,
                                         const MediumWeights& weights,
                                         const CacheGroup& group) const {
    std::vector<CacheMatch> result;
    if (keys.empty()) return result;
    for (CacheId cache = 0; cache < 100; ++cache) {
      if (cache == kSharedCache ? !is_shared(keys[0], group) : media(keys[0], cache).empty()) {
        continue;
      }
      CacheMatch match{cache, 0, 0.0f};
      for (const BlockKey key : keys) {
        std::set<Medium> media = this->media(key, match.cache);
        const bool reaches = cache == kSharedCache || group.test(cache);
        if (reaches && is_shared(key, group)) media.insert(Medium::shared);
        if (media.empty()) break;
        float best = 0;
        for (const Medium medium : media) {
          best = std::max(best, weights[static_cast<std::size_t>(medium)]);
        }
        ++match.blocks;
        match.weighted += best;
      }
      result.push_back(match);
    }
    return result;
  }
};

void check_equal(std::vector<CacheMatch> ours, const std::vector<CacheMatch>& theirs) {
  std::sort(ours.begin(), ours.end(), [](auto& a, auto& b) { return a.cache < b.cache; });
  REQUIRE(ours.size() == theirs.size());
  for (std::size_t i = 0; i < ours.size(); ++i) {
    CHECK(ours[i].cache == theirs[i].cache);
    CHECK(ours[i].blocks == theirs[i].blocks);
    CHECK(ours[i].weighted == doctest::Approx(theirs[i].weighted));
  }
}

std::vector<BlockKey> numbered(BlockKey first, std::size_t count) {
  std::vector<BlockKey> keys(count);
  for (std::size_t i = 0; i < count; ++i) keys[i] = first + i;
  return keys;
}

TEST_CASE("the index equals the naive one under random changes, with media, weights and sharing") {
  for (std::uint32_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    BlockIndex index({1'000'000});
    Twin twin;
    const std::size_t keys = seed % 2 == 0 ? 40 : 3000;  // crowded and sparse
    const CacheId caches = seed % 3 == 0 ? 70 : 5;
    MediumWeights weights = kMediumWeights;
    if (seed % 3 == 1) weights = {0.3f, 0.6f, 0.9f, 0.1f};
    CacheGroup group;
    for (CacheId cache = 1; cache <= caches; ++cache) group[cache] = random() % 3 > 0;
    std::vector<CacheMatch> out;
    for (int step = 0; step < 20'000; ++step) {
      const BlockKey key = 1 + random() % keys;
      const CacheId cache = static_cast<CacheId>(1 + random() % caches);
      const auto medium = static_cast<Medium>(random() % kMedia);
      if (random() % 16 < (step / 4000 % 2 == 0 ? 11 : 5)) {
        index.add(key, cache, medium, static_cast<std::uint16_t>(key));
        twin.add(key, cache, medium);
      } else {
        index.remove(key, cache, medium);
        twin.remove(key, cache, medium);
      }
      if (step % 16 != 0) continue;
      CHECK(index.holds(key) == twin.holds(key));
      const auto prompt = numbered(1 + random() % keys, random() % 40);
      index.longest_prefix(prompt, weights, out, &group);
      check_equal(out, twin.longest_prefix(prompt, weights, group));
      index.longest_prefix(prompt, weights, out);
      check_equal(out, twin.longest_prefix(prompt, weights, {}));
      if (step % 160 == 0) index.upkeep(10);
    }
    CHECK(index.size() == twin.held.size());
    CHECK(index.depth_limit() == UINT32_MAX);
    for (const auto& entry : std::map(twin.held)) {
      for (const Medium medium : entry.second) {
        index.remove(entry.first.first, entry.first.second, medium);
      }
    }
    CHECK(index.size() == 0);
    for (BlockKey key = 1; key <= keys; ++key) CHECK_FALSE(index.holds(key));
  }
}

TEST_CASE("adding what is held and removing what is not changes nothing") {
  BlockIndex index({100});
  index.add(5, 1, Medium::gpu, 0);
  index.add(5, 1, Medium::gpu, 0);
  CHECK(index.size() == 1);
  index.remove(5, 2, Medium::gpu);
  index.remove(5, 1, Medium::cpu);
  index.remove(6, 1, Medium::gpu);
  CHECK(index.size() == 1);
  index.add(5, 1, Medium::cpu, 0);  // the same pair in another medium
  CHECK(index.size() == 1);
  index.remove(5, 1, Medium::gpu);
  CHECK(index.holds(5));
  index.remove(5, 1, Medium::cpu);
  CHECK_FALSE(index.holds(5));
}

TEST_CASE("all caches of a fleet may hold a prompt, and leave it at different depths") {
  BlockIndex index({10'000'000});
  const auto prompt = numbered(1000, 128);
  const CacheId caches = kMaxCaches - 1;
  for (CacheId cache = 1; cache <= caches; cache += 13) {
    for (std::size_t block = 0; block <= cache % prompt.size(); ++block) {
      index.add(prompt[block], cache, Medium::gpu, static_cast<std::uint16_t>(block));
    }
  }
  std::vector<CacheMatch> out;
  index.longest_prefix(prompt, kMediumWeights, out);
  CHECK(out.size() == (caches - 1) / 13 + 1);
  for (const CacheMatch& match : out) CHECK(match.blocks == match.cache % prompt.size() + 1);
  index.longest_prefix({}, kMediumWeights, out);
  CHECK(out.empty());
}

TEST_CASE("the shared medium fills what a cache of the group lacks, and no other's") {
  BlockIndex index({1000});
  const auto prompt = numbered(1, 4);
  for (std::uint16_t block = 0; block < 3; ++block) {
    index.add(prompt[block], 20, Medium::shared, block);
  }
  index.add(prompt[0], 7, Medium::gpu, 0);
  index.add(prompt[2], 7, Medium::cpu, 2);
  index.add(prompt[3], 7, Medium::gpu, 3);
  index.add(prompt[1], 9, Medium::gpu, 1);  // not the first
  std::vector<CacheMatch> out;
  CacheGroup group;
  for (const CacheId cache : {7, 9, 20}) group.set(cache);
  index.longest_prefix(prompt, kMediumWeights, out, &group);
  REQUIRE(out.size() == 3);
  CHECK(out[0].cache == kSharedCache);
  CHECK(out[0].blocks == 3);
  CHECK(out[0].weighted == doctest::Approx(1.5));
  CHECK(out[1].cache == 7);
  CHECK(out[1].blocks == 4);
  CHECK(out[1].weighted == doctest::Approx(1.0 + 0.5 + 0.8 + 1.0));
  CHECK(out[2].cache == 20);
  CHECK(out[2].blocks == 3);
  // Who holds it there is of another group.
  group.reset(20);
  index.longest_prefix(prompt, kMediumWeights, out, &group);
  REQUIRE(out.size() == 2);
  CHECK(out[0].cache == 7);
  CHECK(out[0].blocks == 1);
  CHECK(out[1].blocks == 3);  // its own all the same
}

TEST_CASE("memory follows what is held, up and down") {
  BlockIndex index({2'000'000});
  const std::size_t empty = index.memory_bytes();
  const auto keys = numbered(1, 600'000);
  for (const BlockKey key : keys) index.add(key, 3, Medium::gpu, 0);
  index.upkeep(1);
  CHECK(index.memory_bytes() - empty <= 24 * keys.size());
  CHECK(index.memory_bytes() >= 16 * keys.size());
  for (const BlockKey key : keys) index.remove(key, 3, Medium::gpu);
  index.upkeep(1);
  CHECK(index.size() == 0);
  CHECK(index.memory_bytes() <= empty + 4096 * 4 * 64);  // at most four cache lines a part
}

TEST_CASE("beyond its bound the index leaves out the deepest, exactly, until it is filled anew") {
  const std::size_t max_blocks = 4096;
  BlockIndex index({max_blocks});
  std::mt19937 random(7);
  std::map<BlockKey, std::uint16_t> source;  // all that the writer holds
  for (BlockKey key = 1; source.size() < 2 * max_blocks; ++key) {
    const auto depth = static_cast<std::uint16_t>(random() % 64);
    source[key] = depth;
    index.add(key, static_cast<CacheId>(1 + key % 9), Medium::gpu, depth);
    CHECK(index.size() <= max_blocks);
  }
  const std::uint32_t limit = index.depth_limit();
  CHECK(limit >= 26);  // half of 64 levels, less a sixteenth that became free and one level
  CHECK(limit < 34);
  index.upkeep(100'000);  // a long one: through the whole table
  std::size_t within = 0;
  for (const auto& entry : source) {
    CHECK(index.holds(entry.first) == (entry.second < limit));
    within += entry.second < limit;
  }
  CHECK(index.size() == within);

  for (const auto& entry : source) {  // the owner's removals of what was left out change nothing
    if (entry.second < 8) continue;
    index.remove(entry.first, static_cast<CacheId>(1 + entry.first % 9), Medium::gpu);
  }
  index.refill();
  CHECK(index.depth_limit() == UINT32_MAX);
  index.add(1'000'000, 1, Medium::gpu, 60);
  CHECK(index.holds(1'000'000));
}

TEST_CASE("when all lies at the first depth the index keeps what it has and takes no more") {
  BlockIndex index({64});
  for (BlockKey key = 1; key <= 100; ++key) index.add(key, 1, Medium::gpu, 0);
  CHECK(index.size() == 64);
  for (BlockKey key = 1; key <= 64; ++key) CHECK(index.holds(key));
  CHECK(index.depth_limit() == 1);
  index.add(1, 2, Medium::gpu, 0);  // a further holder is a pair too
  CHECK(index.size() == 64);
}

TEST_CASE("depths of all sizes are remembered") {
  BlockIndex index({16});
  const std::uint16_t depths[] = {0, 1, 4095, 4096, 4097, 65535};
  for (const std::uint16_t depth : depths) index.add(depth + 10u, 1, Medium::gpu, depth);
  for (BlockKey key = 100'000; index.depth_limit() > 4096; ++key) {
    index.add(key, 1, Medium::gpu, 5);
  }
  index.upkeep(100'000);
  for (const std::uint16_t depth : depths) {
    CHECK(index.holds(depth + 10u) == (depth < index.depth_limit()));
  }
}

}  // namespace
}  // namespace dualmesh::policies
