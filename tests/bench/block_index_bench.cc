// The index of cache knowledge at the size it is made for: 10 M blocks in 64 caches. Bytes per
// block, changes per second, and how long a request's look-up of 128 blocks takes where 1, 4 or 64
// caches hold them.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "node/kv/huge_pages.h"
#include "policies/block_index.h"

namespace dualmesh::policies {
namespace {

constexpr std::size_t kBlocks = 10'000'000;
constexpr std::size_t kCaches = 64;
constexpr std::size_t kPromptBlocks = 128;
constexpr std::size_t kPrompts = kBlocks / kPromptBlocks;
constexpr std::size_t kAhead = 16;  // keys of a batch that the ingest thread announces

std::size_t allocated_bytes() {
  const auto heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

// Prompts of random keys, each in one cache.
struct Fleet {
  std::mt19937_64 random{1};
  std::vector<BlockKey> keys;
  node::HugePageArena memory{48 * 4 * kBlocks};  // as in a node
  std::unique_ptr<BlockIndex> index;
  double bytes_per_block = 0, adds_per_second = 0;

  static CacheId cache_of(std::size_t i) {
    return static_cast<CacheId>(1 + i / kPromptBlocks % kCaches);
  }
  static std::uint16_t depth_of(std::size_t i) {
    return static_cast<std::uint16_t>(i % kPromptBlocks);
  }
  Fleet() : keys(kPrompts * kPromptBlocks) {
    for (BlockKey& key : keys) key = random();
    const std::size_t before = allocated_bytes() + memory.allocated_bytes();
    const auto begin = std::chrono::steady_clock::now();
    index = std::make_unique<BlockIndex>(BlockIndex::Limits{4 * kBlocks}, &memory);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (i + kAhead < keys.size()) index->prefetch(keys[i + kAhead]);
      index->add(keys[i], cache_of(i), Medium::gpu, depth_of(i));
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    adds_per_second = static_cast<double>(keys.size()) / took.count();
    bytes_per_block =
        static_cast<double>(allocated_bytes() + memory.allocated_bytes() - before) /
        static_cast<double>(keys.size());
  }
};

Fleet& fleet() {
  static Fleet one;  // filled once for all measurements
  return one;
}

void fill(benchmark::State& state) {
  const Fleet& filled = fleet();
  for (auto _ : state) benchmark::DoNotOptimize(filled.index->size());
  state.counters["bytes/block"] = filled.bytes_per_block;
  state.counters["adds/s"] = filled.adds_per_second;
}

// At a steady size: of two changes one removes a block and one adds another.
void churn(benchmark::State& state) {
  Fleet& all = fleet();
  std::size_t at = 0;
  for (auto _ : state) {
    state.PauseTiming();
    std::vector<BlockKey> fresh(64 * kPromptBlocks);
    for (BlockKey& key : fresh) key = all.random();
    if (at + fresh.size() > all.keys.size()) at = 0;
    state.ResumeTiming();
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      if (i + kAhead < fresh.size()) {
        all.index->prefetch(all.keys[at + i + kAhead]);
        all.index->prefetch(fresh[i + kAhead]);
      }
      all.index->remove(all.keys[at + i], Fleet::cache_of(at + i), Medium::gpu);
      all.index->add(fresh[i], Fleet::cache_of(at + i), Medium::gpu, Fleet::depth_of(at + i));
    }
    std::copy(fresh.begin(), fresh.end(), all.keys.begin() + static_cast<std::ptrdiff_t>(at));
    at += fresh.size();
  }
  state.counters["changes/s"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 2 * 64 * kPromptBlocks,
                         benchmark::Counter::kIsRate);
}

// A further prompt each time, so that its blocks are not in the processor's caches.
void look_up(benchmark::State& state) {
  Fleet& all = fleet();
  const auto holders = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t kAsked = 2000;
  std::vector<std::size_t> firsts(kAsked);
  for (std::size_t& first : firsts) first = all.random() % kPrompts * kPromptBlocks;
  const auto change = [&](bool add) {
    for (const std::size_t first : firsts) {
      for (std::size_t i = first; i < first + kPromptBlocks; ++i) {
        for (std::size_t other = 1; other < holders; ++other) {
          const CacheId cache = Fleet::cache_of(i + other * kPromptBlocks);
          if (add) all.index->add(all.keys[i], cache, Medium::gpu, Fleet::depth_of(i));
          if (!add) all.index->remove(all.keys[i], cache, Medium::gpu);
        }
      }
    }
  };
  change(true);
  std::vector<double> microseconds;
  std::vector<CacheMatch> out;
  std::vector<BlockKey> prompt;
  std::size_t asked = 0;
  for (auto _ : state) {
    const auto first = all.keys.begin() + static_cast<std::ptrdiff_t>(firsts[asked++ % kAsked]);
    prompt.assign(first, first + kPromptBlocks);
    const auto begin = std::chrono::steady_clock::now();
    all.index->longest_prefix(prompt, kMediumWeights, out);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    state.SetIterationTime(took.count());
    microseconds.push_back(took.count() * 1e6);
    if (out.size() != holders || out.back().blocks != kPromptBlocks) {
      state.SkipWithError("the index does not say what was added");
      break;
    }
  }
  change(false);
  std::sort(microseconds.begin(), microseconds.end());
  if (microseconds.empty()) return;
  state.counters["p50_us"] = microseconds[microseconds.size() / 2];
  state.counters["p99_us"] = microseconds[microseconds.size() * 99 / 100];
}

BENCHMARK(fill)->Iterations(1);
BENCHMARK(look_up)->Arg(1)->Arg(4)->Arg(64)->UseManualTime()->Iterations(20'000);
BENCHMARK(churn)->Iterations(300);

}  // namespace
}  // namespace dualmesh::policies

BENCHMARK_MAIN();
