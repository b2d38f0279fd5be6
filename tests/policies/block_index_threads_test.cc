// Readers of the block index while its writer works: nothing torn, nothing invented, nothing lost
// that does not change.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>

#include "policies/block_index.h"
#include "policies/index/reclaimer.h"

namespace dualmesh::policies {
namespace {

// Each key's holder can be told from the key, so a wrong one shows.
CacheId own_cache(BlockKey key) { return static_cast<CacheId>(1 + key % 60); }
std::vector<BlockKey> prompt_at(BlockKey first, std::size_t blocks) {
  std::vector<BlockKey> keys(blocks);
  for (std::size_t i = 0; i < blocks; ++i) keys[i] = first + 60 * i;  // all of one cache
  return keys;
}

TEST_CASE(
    "what does not change is always found, and nobody is taken for another, while all grows") {
  constexpr BlockKey kSteady = 60 * 256;  // keys below it stay
  BlockIndex index({4'000'000});
  for (BlockKey key = 1; key < kSteady; ++key) {
    index.add(key, own_cache(key), Medium::gpu, 0);
    index.add(key, 100, Medium::gpu, 0);
  }
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0}, reads{0};
  const auto reader = [&](std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<CacheMatch> out;
    while (!stop) {
      const BlockKey first = 1 + random() % (kSteady - 60 * 20);
      index.longest_prefix(prompt_at(first, 20), kMediumWeights, out);
      bool right = out.size() == 2;
      for (const CacheMatch& match : out) {
        right = right && (match.cache == own_cache(first) || match.cache == 100) &&
                match.blocks == 20 && match.weighted == 20.0f;
      }
      // Keys that come and go: their own caches or nothing.
      const BlockKey passing = kSteady + random() % 20'000;
      index.longest_prefix(prompt_at(passing, 5), kMediumWeights, out);
      for (const CacheMatch& match : out) {
        right = right && (match.cache == own_cache(passing) || match.cache >= 200);
      }
      wrong += !right;
      ++reads;
    }
  };
  std::thread one(reader, 1), two(reader, 2);
  std::mt19937 random(3);
  BlockKey grown = kSteady + 20'000;
  for (int round = 0; round < 60'000 || reads < 2'000; ++round) {
    const BlockKey key = kSteady + random() % 20'000;
    const auto other = static_cast<CacheId>(200 + random() % 3);
    switch (random() % 5) {
      case 0:
        index.add(key, own_cache(key), Medium::gpu, 1);
        break;
      case 1:
        index.add(key, other, Medium::cpu, 1);
        break;
      case 2:
        index.remove(key, own_cache(key), Medium::gpu);
        break;
      case 3:
        index.remove(key, other, Medium::cpu);
        break;
      case 4:
        if (++grown < 1'000'000) index.add(grown, own_cache(grown), Medium::gpu, 2);
        break;
    }
    if (round % 64 == 0) index.upkeep(8);
  }
  stop = true;
  one.join();
  two.join();
  CHECK(wrong == 0);
  CHECK(reads >= 2'000);
}

TEST_CASE("what is retired is released after the readings that began before, whoever comes later") {
  Reclaimer reclaimer;
  int released = 0;
  const auto retire = [&] {
    reclaimer.retire([](void* count, std::uint64_t) { ++*static_cast<int*>(count); }, &released, 0);
  };
  retire();
  reclaimer.collect();
  CHECK(released == 1);  // nobody read
  {
    const auto before = reclaimer.read();
    retire();
    reclaimer.collect();
    reclaimer.collect();
    CHECK(released == 1);
    {
      const auto later = reclaimer.read();
      reclaimer.collect();
    }
    reclaimer.collect();
    CHECK(released == 1);
  }
  reclaimer.collect();
  CHECK(released == 2);

  // Readers that overlap without end hold nothing back for good.
  std::unique_ptr<Reclaimer::Reading> readings[2];
  readings[0].reset(new Reclaimer::Reading(reclaimer.read()));
  retire();
  for (int turn = 1; turn <= 4; ++turn) {
    readings[turn % 2].reset(new Reclaimer::Reading(reclaimer.read()));
    readings[1 - turn % 2].reset();
    reclaimer.collect();
  }
  CHECK(released == 3);
}

TEST_CASE("a reclaimer that ends releases what is left") {
  int released = 0;
  {
    Reclaimer reclaimer;
    reclaimer.retire([](void* count, std::uint64_t) { ++*static_cast<int*>(count); }, &released, 0);
  }
  CHECK(released == 1);
}

}  // namespace
}  // namespace dualmesh::policies
