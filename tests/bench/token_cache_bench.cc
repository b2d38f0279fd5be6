// What the cache of tokens costs a request, by how its prompt is found: whole, by a beginning (a
// conversation's next turn), or not at all (a sibling that shares only a beginning, for which an
// instance is asked). With all threads at it at once the lock is held for at most the time between
// two that they finish.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "node/tokens/token_cache.h"

namespace {

using namespace dualmesh;
using namespace dualmesh::node;

constexpr std::uint32_t kBlockBytes = 2048;
constexpr std::size_t kPrompts = 1'000;
constexpr std::size_t kBytes = 32 << 10;  // of text, in each prompt
constexpr std::size_t kTokens = kBytes / 4;

struct Prompt {
  explicit Prompt(std::string prompt_text) : text(std::move(prompt_text)) {
    policies::ChainParameters parameters;
    parameters.block_bytes = kBlockBytes;
    policies::PromptChainBuilder builder(parameters);
    builder.update(text);
    chain = builder.finish("m");
    key = TokenCacheKey(chain, text, kBlockBytes, 1);
  }
  std::string text;
  policies::PromptChain chain;
  TokenCacheKey key;
};

std::string text_of(std::size_t number, std::size_t bytes = kBytes) {
  std::string text = "shared by all siblings: ";
  text.resize(kBytes / 2, 's');
  while (text.size() < bytes) text += std::to_string(number * 7'919 + text.size()) + ' ';
  text.resize(bytes);
  return text;
}

struct Filled {
  Filled() {
    for (std::size_t i = 0; i < kPrompts; ++i) {
      known.emplace_back(text_of(i));
      next.emplace_back(known.back().text + std::string(kBytes / 8, 'n'));
      siblings.emplace_back(text_of(kPrompts + i));
      cache.insert(known.back().key, tokens);
    }
  }
  TokenList tokens = std::make_shared<const std::vector<policies::TokenId>>(kTokens, 7);
  std::vector<Prompt> known, next, siblings;
  TokenCache cache{kPrompts * (kTokens * 4 + 4096)};
};

Filled& filled() {
  static Filled all;
  return all;
}

void find(benchmark::State& state, std::vector<Prompt>& prompts, bool found) {
  Filled& all = filled();
  std::size_t at = static_cast<std::size_t>(state.thread_index()) * 37;
  for (auto _ : state) {
    const Prompt& prompt = prompts[++at % prompts.size()];
    const TokenCache::Found result =
        all.cache.find(prompt.key, prompt.chain, prompt.text, kBlockBytes, 1);
    if ((result.tokens != nullptr) != found) state.SkipWithError("not as expected");
  }
  state.SetItemsProcessed(state.iterations());
}

void find_whole(benchmark::State& state) { find(state, filled().known, true); }
void find_beginning(benchmark::State& state) { find(state, filled().next, true); }
void find_none(benchmark::State& state) { find(state, filled().siblings, false); }
BENCHMARK(find_whole)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(find_beginning)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(find_none)->Threads(1)->Threads(2)->UseRealTime();

// Each takes the place of the one used longest ago.
void insert(benchmark::State& state) {
  Filled& all = filled();
  TokenCache cache(kPrompts / 2 * (kTokens * 4 + 256));
  std::size_t at = 0;
  for (auto _ : state) cache.insert(all.known[++at % kPrompts].key, all.tokens);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(insert);

}  // namespace

BENCHMARK_MAIN();
