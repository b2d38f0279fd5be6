#include <doctest/doctest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>

#include "node/engine/prefix_cache.h"

namespace dualmesh::node {
namespace {

using policies::BlockKey;
using Keys = std::vector<BlockKey>;

TEST_CASE("a released prefix is found again until room is needed, its tail goes first") {
  PrefixCache cache(4);
  const Keys prompt{1, 2, 3};
  REQUIRE(cache.acquire({}, 3));
  for (BlockKey key : prompt) cache.publish(key);
  CHECK(cache.in_use() == 3);
  CHECK_FALSE(cache.acquire({}, 2));
  cache.release(prompt, 0);
  CHECK(cache.in_use() == 0);
  CHECK(cache.evictable() == 3);
  CHECK(cache.match(prompt) == 3);
  REQUIRE(cache.acquire({}, 2));
  CHECK(cache.match(prompt) == 2);
  CHECK(cache.evictions() == 1);
}

TEST_CASE("blocks that were just matched are not evicted to make room for their own request") {
  PrefixCache cache(3);
  REQUIRE(cache.acquire({}, 2));
  cache.publish(1);
  cache.publish(2);
  cache.release(Keys{1, 2}, 0);
  REQUIRE(cache.acquire(Keys{1, 2}, 1));
  CHECK(cache.match(Keys{1, 2}) == 2);
  CHECK(cache.in_use() == 3);
  CHECK(cache.evictions() == 0);
}

TEST_CASE("two sequences that compute the same block share one") {
  PrefixCache cache(4);
  REQUIRE(cache.acquire({}, 1));
  REQUIRE(cache.acquire({}, 1));
  cache.publish(7);
  cache.publish(7);
  CHECK(cache.in_use() == 1);
  cache.release(Keys{7}, 0);
  CHECK(cache.in_use() == 1);
  cache.release(Keys{7}, 0);
  CHECK(cache.in_use() == 0);
  CHECK(cache.evictable() == 1);
}

// The same rules in the plainest form: a list in order of last release and linear searches.
struct NaiveCache {
  std::size_t capacity;
  std::map<BlockKey, int> holders;
  std::list<BlockKey> idle;  // oldest first
  std::size_t privates = 0;

  std::size_t in_use() const { return privates + holders.size() - idle.size(); }
  bool held(BlockKey key) const { return holders.count(key) > 0; }
  void hold(BlockKey key) {
    idle.remove(key);
    ++holders[key];
  }
  bool acquire(const Keys& keys, std::size_t more) {
    NaiveCache next = *this;
    for (BlockKey key : keys) next.hold(key);
    next.privates += more;
    if (next.in_use() > capacity) return false;
    while (next.privates + next.holders.size() > capacity) {
      next.holders.erase(next.idle.front());
      next.idle.pop_front();
    }
    *this = next;
    return true;
  }
  void publish(BlockKey key) {
    --privates;
    hold(key);
  }
  void release(const Keys& keys, std::size_t count) {
    privates -= count;
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
      if (--holders[*key] == 0) idle.push_back(*key);
    }
  }
};

// What somebody holds for true who hears of changes alone.
struct Listener final : CacheObserver {
  std::set<BlockKey> held;
  void stored(BlockKey key) override { REQUIRE(held.insert(key).second); }
  void evicted(BlockKey key) override { REQUIRE(held.erase(key) == 1); }
  bool same_as(const NaiveCache& naive) const {
    return std::equal(held.begin(), held.end(), naive.holders.begin(), naive.holders.end(),
                      [](BlockKey key, const auto& entry) { return key == entry.first; });
  }
};

TEST_CASE("agrees with a naive cache under random use, and so does who hears of its changes") {
  struct Holder {
    Keys keys;
    std::size_t shared = 0;
    std::size_t privates = 0;
  };
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    auto pick = [&](std::size_t below) { return std::size_t{random()} % below; };
    const std::size_t capacity = 4 + pick(20);
    PrefixCache cache(capacity);
    Listener listener;
    cache.set_observer(&listener);
    NaiveCache naive{capacity};
    std::vector<Holder> holders;
    for (int step = 0; step < 300; ++step) {
      if (holders.empty() || pick(2) == 0) {
        Holder holder;
        const BlockKey family = 100 * (1 + pick(3));
        for (std::size_t i = 0, n = pick(8); i < n; ++i) holder.keys.push_back(family + i);
        std::size_t hits = 0;
        while (hits < holder.keys.size() && naive.held(holder.keys[hits])) ++hits;
        REQUIRE(cache.match(holder.keys) == hits);
        holder.shared = hits;
        holder.privates = holder.keys.size() - hits + pick(3);
        const Keys held(holder.keys.begin(), holder.keys.begin() + static_cast<long>(hits));
        const bool fits = naive.acquire(held, holder.privates);
        REQUIRE(cache.acquire(held, holder.privates) == fits);
        if (fits) holders.push_back(holder);
      } else if (const std::size_t at = pick(holders.size()); pick(2) == 0) {
        Holder& holder = holders[at];
        if (holder.shared < holder.keys.size()) {
          cache.publish(holder.keys[holder.shared]);
          naive.publish(holder.keys[holder.shared]);
          ++holder.shared;
          --holder.privates;
        }
      } else {
        Holder holder = holders[at];
        holders.erase(holders.begin() + static_cast<long>(at));
        holder.keys.resize(holder.shared);
        cache.release(holder.keys, holder.privates);
        naive.release(holder.keys, holder.privates);
      }
      REQUIRE(listener.same_as(naive));
      REQUIRE(cache.in_use() == naive.in_use());
      REQUIRE(cache.evictable() == naive.idle.size());
      REQUIRE(cache.in_use() + cache.evictable() <= capacity);
    }
  }
}

}  // namespace
}  // namespace dualmesh::node
