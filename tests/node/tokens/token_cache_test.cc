// TokenCache: found whole, found as the beginning of what goes on, bounded.
#include "node/tokens/token_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <thread>

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

constexpr std::uint32_t kBlockBytes = 64;

struct Prompt {
  explicit Prompt(std::string words, std::uint64_t template_of = 0)
      : text(std::move(words)), template_key(template_of) {
    policies::PromptChainBuilder builder(policies::ChainParameters{kBlockBytes, 1});
    builder.update(text);
    chain = builder.finish("m");
    key = TokenCacheKey(chain, text, kBlockBytes, template_key);
  }
  std::string text;
  std::uint64_t template_key;
  policies::PromptChain chain;
  TokenCacheKey key;
};

TokenCache::Found find(TokenCache& cache, const Prompt& prompt) {
  return cache.find(prompt.key, prompt.chain, prompt.text, kBlockBytes, prompt.template_key);
}

TokenList tokens(std::size_t count, policies::TokenId from = 0) {
  std::vector<policies::TokenId> ids(count);
  for (std::size_t i = 0; i < count; ++i) ids[i] = from + static_cast<policies::TokenId>(i);
  return std::make_shared<const std::vector<policies::TokenId>>(std::move(ids));
}

}  // namespace

TEST_CASE("a prompt is found whole, under its template alone") {
  TokenCache cache(1 << 20);
  const Prompt prompt(std::string(200, 'a'));
  CHECK_FALSE(find(cache, prompt).tokens);
  const TokenList list = tokens(50);
  cache.insert(prompt.key, list);
  const auto found = find(cache, prompt);
  CHECK(found.tokens == list);
  CHECK(found.whole);
  CHECK(found.certain == 50);
  CHECK_FALSE(find(cache, Prompt(prompt.text, 7)).tokens);
  CHECK_FALSE(find(cache, Prompt(std::string(199, 'a'))).tokens);
  cache.insert(prompt.key, tokens(60));  // told anew
  CHECK(find(cache, prompt).certain == 60);
  CHECK(cache.stats().entries == 1);
}

TEST_CASE("what goes on from a known prompt begins with its tokens, but for the seam") {
  TokenCache cache(1 << 20);
  char first_letter = 'a';
  for (const std::size_t bytes : {64, 65, 100, 127, 128, 1000}) {
    CAPTURE(bytes);
    std::string text(bytes, 'x');
    text[0] = first_letter++;
    const Prompt first(text);
    const TokenList list = tokens(300);
    cache.insert(first.key, list);
    for (const std::size_t more : {1, 63, 64, 500}) {
      const auto found = find(cache, Prompt(text + std::string(more, 'y')));
      CHECK(found.tokens == list);
      CHECK_FALSE(found.whole);
      CHECK(found.certain == 300 - TokenCache::kSeamTokens);
      CHECK(found.bytes == bytes);
    }
    // It leaves the known text before its end.
    std::string other = text;
    other.back() = '!';
    CHECK_FALSE(find(cache, Prompt(other + "and on")).tokens);
    CHECK_FALSE(find(cache, Prompt(text + "and on", 9)).tokens);
  }
  const Prompt brief(std::string(80, 'q'));
  cache.insert(brief.key, tokens(TokenCache::kSeamTokens));  // all seam
  CHECK_FALSE(find(cache, Prompt(brief.text + "on")).tokens);
}

TEST_CASE("of two turns the later is the beginning of the next") {
  TokenCache cache(1 << 20);
  const Prompt one(std::string(300, 'a'));
  const Prompt two(one.text + std::string(300, 'b'));
  cache.insert(one.key, tokens(100));
  cache.insert(two.key, tokens(200));
  CHECK(find(cache, Prompt(two.text + "c")).tokens->size() == 200);
  CHECK(find(cache, Prompt(one.text + "c")).tokens->size() == 100);
  // Too far back to be looked for.
  const std::size_t far = (TokenCache::kMaxLookBack + 1) * kBlockBytes;
  CHECK_FALSE(find(cache, Prompt(two.text + std::string(far, 'd'))).tokens);
}

TEST_CASE("as a map that forgets the least recently used, against a naive one") {
  std::mt19937 random(3);
  std::vector<Prompt> prompts;
  for (int i = 0; i < 40; ++i) prompts.emplace_back(std::to_string(i) + "-short");
  TokenCache cache(20'000);
  std::map<int, std::pair<int, TokenList>> twin;  // prompt -> last use, tokens
  for (int now = 0; now < 5'000; ++now) {
    const int i = static_cast<int>(random() % prompts.size());
    if (random() % 2 == 0) {
      const TokenList list = tokens(1 + random() % 900);
      cache.insert(prompts[i].key, list);
      twin[i] = {now, list};
    } else {
      const auto found = find(cache, prompts[i]);
      const auto expected = twin.find(i);
      if (expected != twin.end()) expected->second.first = now;
      CHECK(found.tokens == (expected == twin.end() ? nullptr : expected->second.second));
    }
    const auto stats = cache.stats();
    REQUIRE(stats.bytes <= 20'000);
    while (twin.size() > stats.entries) {
      const auto older = [](const auto& a, const auto& b) {
        return a.second.first < b.second.first;
      };
      twin.erase(std::min_element(twin.begin(), twin.end(), older));
    }
    REQUIRE(twin.size() == stats.entries);
  }
  CHECK(cache.stats().evicted > 100);
  const Prompt large("large");
  cache.insert(large.key, tokens(10'000));  // more than all may have
  CHECK_FALSE(find(cache, large).tokens);
}

TEST_CASE("many threads at once") {
  TokenCache cache(50'000);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&cache, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 3'000; ++i) {
        const auto n = static_cast<policies::TokenId>(random() % 30);
        const Prompt prompt(std::string(100 + n, 'a'));
        const auto found = find(cache, prompt);
        if (found.whole && found.tokens->front() != n) std::abort();
        if (!found.whole) cache.insert(prompt.key, tokens(200, n));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(cache.stats().found > 0);
}
