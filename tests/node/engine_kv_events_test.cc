// What an engine says of its cache is what its cache holds, after every iteration.
#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "net/prompt_reader.h"
#include "node/engine/engine_request.h"
#include "node/engine/kv_event_log.h"

namespace dualmesh::node {
namespace {

using policies::BlockKey;
using policies::TokenId;

constexpr std::uint32_t kBlockTokens = 4;

// Believes events, and holds each block with all it was told of it.
struct Believer {
  struct Told {
    BlockKey parent;
    std::vector<TokenId> tokens;
    std::string lora, salt;
    bool operator==(const Told&) const = default;
  };
  std::map<BlockKey, Told> held;
  std::map<BlockKey, Told> ever;  // a hash means the same block for good

  void operator()(const KvStored& stored) {
    REQUIRE_FALSE(stored.hashes.empty());
    BlockKey parent = 0;
    if (stored.first_block > 0) {
      parent = stored.parent;
      REQUIRE(held.count(parent) == 1);
    }
    for (std::size_t i = 0; i < stored.hashes.size(); ++i) {
      const auto begin = stored.prompt->tokens.begin() +
                         static_cast<std::ptrdiff_t>((stored.first_block + i) * kBlockTokens);
      Told told{parent, {begin, begin + kBlockTokens}, stored.prompt->lora, stored.prompt->salt};
      parent = stored.hashes[i];
      REQUIRE(held.emplace(parent, told).second);
      REQUIRE(ever.emplace(parent, told).first->second == told);
    }
  }
  void operator()(const KvRemoved& removed) {
    for (const BlockKey hash : removed.hashes) REQUIRE(held.erase(hash) == 1);
  }
  void operator()(const KvCleared&) { held.clear(); }

  void hear(const std::vector<KvEvent>& events) {
    for (const KvEvent& event : events) std::visit(*this, event);
  }
  bool same_as(const PrefixCache& cache) const {
    std::set<BlockKey> keys;
    for (const BlockKey key : cache.shared_keys()) keys.insert(key);
    return std::equal(keys.begin(), keys.end(), held.begin(), held.end(),
                      [](BlockKey key, const auto& entry) { return key == entry.first; });
  }
};

struct ToldEngine {
  explicit ToldEngine(std::uint32_t cache_blocks, std::uint32_t budget = 64)
      : model({.token_budget = budget,
               .block_tokens = kBlockTokens,
               .cache_tokens = std::uint64_t{cache_blocks} * kBlockTokens}),
        log(model) {
    model.observe_cache(&log);
  }
  bool ask(const std::string& text, CacheSpace space = {}, std::uint32_t output = 1) {
    net::PromptFields fields;
    fields.canonical = text;
    SimulatedPrompt prompt = tokenize_prompt(fields, std::move(space), kBlockTokens);
    return model.enqueue({++last, prompt.tokens, output, std::move(prompt.blocks), prompt.text});
  }
  std::vector<KvEvent> step() {
    REQUIRE(model.start_iteration({}));
    std::vector<Emission> out;
    model.finish_iteration(out);
    return log.take();
  }

  EngineModel model;
  KvEventLog log;
  RequestId last = 0;
};

TEST_CASE("the blocks that a request adds in an iteration are one event, with their tokens") {
  ToldEngine engine(100, 40);
  REQUIRE(engine.ask(std::string(16 * 12, 'a') + std::string(16, 'b')));
  const auto first = engine.step();  // 40 of its 52 tokens
  REQUIRE(first.size() == 1);
  const auto& begun = std::get<KvStored>(first[0]);
  CHECK(begun.hashes.size() == 10);
  CHECK(begun.first_block == 0);
  const auto second = engine.step();
  REQUIRE(second.size() == 1);
  const auto& rest = std::get<KvStored>(second[0]);
  CHECK(rest.hashes.size() == 3);
  CHECK(rest.first_block == 10);
  CHECK(rest.parent == begun.hashes.back());
  CHECK(rest.prompt->tokens.size() == 52);
  REQUIRE(engine.ask(std::string(16 * 12, 'a') + std::string(16, 'c')));
  const auto third = engine.step();  // a hit says nothing
  REQUIRE(third.size() == 1);
  CHECK(std::get<KvStored>(third[0]).first_block == 12);
  CHECK(std::get<KvStored>(third[0]).parent == rest.hashes[1]);
  CHECK(std::get<KvStored>(third[0]).hashes.size() == 1);
}

TEST_CASE("evictions come before the blocks they make room for, the tail of a prompt first") {
  ToldEngine engine(4);
  REQUIRE(engine.ask(std::string(48, 'a')));
  engine.step();
  const auto held = engine.model.cache().shared_keys();
  REQUIRE(engine.ask(std::string(44, 'b')));
  const auto events = engine.step();
  REQUIRE(events.size() == 2);
  const auto& removed = std::get<KvRemoved>(events[0]);
  CHECK(removed.hashes.size() == 2);
  CHECK(std::get<KvStored>(events[1]).hashes.size() == 2);
  CHECK(held.size() == 3);
  for (const BlockKey hash : removed.hashes) CHECK(std::count(held.begin(), held.end(), hash) == 1);
}

TEST_CASE("a cache is cleared when nobody holds a block of it, and not before") {
  ToldEngine engine(40);
  REQUIRE(engine.ask(std::string(64, 'a'), {}, 2));
  engine.step();
  CHECK_FALSE(engine.model.clear_cache());
  CHECK(engine.log.take().empty());
  engine.step();
  CHECK(engine.model.cache().evictable() == 4);
  CHECK(engine.model.clear_cache());
  CHECK(engine.model.cache().evictable() == 0);
  const auto events = engine.log.take();
  REQUIRE(events.size() == 1);
  CHECK(std::holds_alternative<KvCleared>(events[0]));
}

TEST_CASE("whoever believes the events holds what the cache holds, after every iteration") {
  std::uint64_t removed = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::uint32_t below) {
      return static_cast<std::uint32_t>(random() % below);
    };
    ToldEngine engine(20 + pick(40), 16 + pick(100));
    Believer believer;
    for (int step = 0; step < 300; ++step) {
      if (pick(2) == 0) {
        std::string text = "common beginning of all texts, of some length";
        for (std::uint32_t i = pick(8); i > 0; --i) text += std::string(8, "abc"[pick(3)]);
        CacheSpace space;
        if (pick(4) == 0) space.lora = "adapter", space.lora_number = 1;
        if (pick(4) == 0) space.salt = pick(2) == 0 ? "one" : "two";
        engine.ask(text, space, 1 + pick(20));
      }
      if (pick(12) == 0) engine.model.cancel(1 + pick(static_cast<std::uint32_t>(engine.last + 1)));
      if (pick(20) == 0) engine.model.clear_cache();
      if (engine.model.start_iteration({})) {
        std::vector<Emission> out;
        engine.model.finish_iteration(out);
      }
      believer.hear(engine.log.take());
      REQUIRE(believer.same_as(engine.model.cache()));
    }
    removed += engine.model.cache().evictions();
  }
  CHECK(removed > 1000);
}

TEST_CASE("equal tokens under another adapter, salt or seed are other blocks") {
  net::PromptFields fields;
  fields.canonical = std::string(64, 'x');
  const CacheSpace spaces[] = {{},
                               {.lora = "a"},
                               {.salt = "a"},
                               {.lora = "a", .salt = "a"},
                               {.lora = "b"},
                               {.hash_seed = 1}};
  std::set<BlockKey> hashes;
  std::set<std::uint64_t> seeds;
  for (const CacheSpace& space : spaces) {
    const SimulatedPrompt prompt = tokenize_prompt(fields, space, kBlockTokens);
    CHECK(prompt.tokens == 16);
    hashes.insert(prompt.blocks.begin(), prompt.blocks.end());
    seeds.insert(prompt.seed);
  }
  CHECK(hashes.size() == std::size(spaces) * 4);
  CHECK(seeds.size() == 1);  // the answer is of the text
}

TEST_CASE("token ids: given ones are taken as they are, those of text stay below 2^17") {
  net::PromptReader reader;
  const auto read = [&](const char* body) {
    const auto fields = reader.read(net::Endpoint::completions, body);
    REQUIRE(fields.has_value());
    return token_ids(*fields);
  };
  CHECK(read(R"({"model":"m","prompt":[7,100000,0,4000000000]})") ==
        std::vector<TokenId>{7, 100'000, 0, 4'000'000'000});
  const auto text = read(R"({"model":"m","prompt":"wordword, and others"})");
  REQUIRE(text.size() == 5);
  CHECK(text[0] == text[1]);
  CHECK(std::set<TokenId>(text.begin(), text.end()).size() == 4);
  for (const TokenId id : text) CHECK(id < 1u << 17);
  CHECK(read(R"({"model":"m","prompt":""})").size() == 1);
}

}  // namespace
}  // namespace dualmesh::node
