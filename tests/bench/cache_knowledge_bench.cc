// What a request's look-up costs by what is known of 64 caches: chain of keys, index, what was
// placed lately, the join. A prompt of 128 blocks, held by 1, 4 or all; 10 M blocks held beside.
#include <benchmark/benchmark.h>

#include <numeric>

#include "node/router/cache_knowledge.h"

namespace {

using namespace dualmesh;
using namespace dualmesh::node;

constexpr std::uint32_t kBlock = 16;
constexpr std::size_t kBlocks = 128;
constexpr policies::CacheId kCaches = 64;
constexpr std::size_t kHeld = 10'000'000;

struct Held {
  Held() {
    std::uint64_t key = 1;
    for (std::size_t i = 0; i < kHeld; ++i) {
      key = key * 0x9e3779b97f4a7c15 + 1;
      index.add(key | 1, static_cast<policies::CacheId>(1 + i % kCaches), policies::Medium::gpu,
                static_cast<std::uint16_t>(i % kBlocks));
    }
  }
  policies::BlockIndex index{{16'000'000}};
};

void look_up(benchmark::State& state) {
  static Held held;
  const auto holders = static_cast<policies::CacheId>(state.range(0));
  std::vector<policies::TokenId> ids(kBlocks * kBlock + 1);
  std::iota(ids.begin(), ids.end(), policies::TokenId{1'000'000U * holders});
  std::vector<policies::BlockKey> keys;
  policies::token_chain(policies::token_root(kBlock, {}, {}), kBlock, ids, keys);
  KvView view;
  view.index = &held.index;
  view.caches.push_back({});
  for (policies::CacheId cache = 1; cache <= kCaches; ++cache) {
    view.caches.push_back(
        {static_cast<policies::Slot>(cache - 1), 0, policies::HitSource::exact, kBlock});
    if (cache > holders) continue;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      held.index.add(keys[i], cache, policies::Medium::gpu, static_cast<std::uint16_t>(i));
    }
  }
  view.derive();
  SharedResidency residency({});
  CacheKnowledge knowledge(residency);
  knowledge.set_kinds({{"m", false}});
  knowledge.publish(std::make_shared<const KvView>(view));
  policies::Arrival arrival;
  arrival.model = "m";
  arrival.chain.bytes = ids.size() * 4;
  for (std::uint64_t i = 1; i <= 4; ++i) arrival.chain.blocks.push_back(i);
  for (auto _ : state) {
    arrival.block_tokens = 512;
    RankChoices ranks;
    knowledge.look_up(arrival, {ids, static_cast<std::uint32_t>(ids.size()), {}, 2048}, ranks);
    benchmark::DoNotOptimize(arrival.hit_tokens.data());
  }
  if (arrival.hit_tokens.at(0) != kBlocks * kBlock) state.SkipWithError("not found");
}
BENCHMARK(look_up)->Arg(1)->Arg(4)->Arg(64);

}  // namespace

BENCHMARK_MAIN();
