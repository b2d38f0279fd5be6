// KvModelEngine: one rank of an engine whose batches are real payloads, with all that it ever held.
//
// Prompts are paths of a tree of blocks, so what a node claims is asked for as decisions do it: by
// keys over tokens, made here with policies/token_chain.h.
//
// Threads: none.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "node/kv/kv_stream.h"
#include "policies/token_chain.h"

namespace dualmesh::node::test {

inline constexpr std::uint32_t kTreeBlocks = 60, kTreeRoots = 4, kTreeBlockTokens = 4;

// The blocks that prompts are made of. Block b follows block parent(b).
struct PromptTree {
  PromptTree() {
    for (std::uint32_t block = 0; block < kTreeBlocks; ++block) {
      std::vector<policies::TokenId> prompt;
      for (std::uint32_t at = block;; at = parent(at)) {
        const auto own = tokens(at);
        prompt.insert(prompt.begin(), own.begin(), own.end());
        if (is_root(at)) break;
      }
      keys.emplace_back();
      policies::token_chain(policies::token_root(kTreeBlockTokens, "", ""), kTreeBlockTokens,
                            prompt, keys.back());
    }
  }
  static bool is_root(std::uint32_t block) { return block < kTreeRoots; }
  static std::uint32_t parent(std::uint32_t block) { return block / 2 - kTreeRoots / 2; }
  static std::vector<policies::TokenId> tokens(std::uint32_t block) {
    std::vector<policies::TokenId> tokens;
    for (std::uint32_t i = 0; i < kTreeBlockTokens; ++i) tokens.push_back(1000 * block + i);
    return tokens;
  }
  policies::BlockKey key(std::uint32_t block) const { return keys[block].back(); }
  std::vector<std::vector<policies::BlockKey>> keys;  // of the prompt that ends with the block
};

// Blocks in media, with how many copies of each.
using EngineCache = std::map<std::pair<std::uint32_t, policies::Medium>, int>;

struct ModelLife {
  std::vector<RawBatch> batches;
  std::vector<EngineCache> held{{}};  // after so many batches
  std::uint64_t seed = 0;             // of its hashes
  EngineHash hash(std::uint32_t block) const {
    const std::uint64_t word = (seed + block + 1) * 0x9e3779b97f4a7c15ULL;
    return (word ^ word >> 29) | 1;
  }
};

class KvModelEngine {
 public:
  KvModelEngine(std::uint64_t seed, std::size_t buffer, double clock_s)
      : buffer_batches(buffer), clock_s_(clock_s), random_(seed) {
    restart();
  }

  std::size_t buffer_batches;  // for replay; 0: it has none
  std::vector<ModelLife> lives;
  // Two lives that no wire could tell apart may have been taken for one.
  bool may_mix = false;

  ModelLife& life() { return lives.back(); }
  std::uint64_t end() const { return lives.back().batches.size(); }
  std::uint64_t oldest() const { return end() - std::min<std::uint64_t>(end(), buffer_batches); }
  void restart() {
    clock_s_ += 1.0;
    lives.push_back({{}, {{}}, same_hashes ? 7 : random_() >> 8});
  }
  // Another process in its place, whose clock is behind.
  void replace() {
    clock_s_ -= 300.0;
    restart();
  }
  bool silent = false;       // it serves nobody
  bool same_hashes = false;  // of equal prompts in all lives, as of hashes without a seed
  const RawBatch& publish() {
    clock_s_ += 0.001;
    EngineCache cache = life().held.back();
    Json events = Json::array();
    for (std::uint64_t i = random_() % 4; i > 0; --i) event(cache, events);
    if (random_() % 300 == 0) {
      cache.clear();
      events.push_back({{"type", "AllBlocksCleared"}});
    }
    const auto bytes = Json::to_msgpack(Json::array({clock_s_, events, Json()}));
    RawBatch batch{end(), {bytes.begin(), bytes.end()}};
    where_[batch_digest(batch.sequence, batch.payload)] = {lives.size() - 1, batch.sequence + 1};
    life().held.push_back(std::move(cache));
    life().batches.push_back(std::move(batch));
    return life().batches.back();
  }
  // (life, step) of the batch with this digest.
  const std::pair<std::size_t, std::uint64_t>* find(std::uint64_t digest) const {
    const auto found = where_.find(digest);
    return found == where_.end() ? nullptr : &found->second;
  }

 private:
  using Json = nlohmann::ordered_json;

  static bool holds(const EngineCache& cache, std::uint32_t block) {
    const auto at = cache.lower_bound({block, policies::Medium::gpu});
    return at != cache.end() && at->first.first == block;
  }
  void event(EngineCache& cache, Json& events) {
    if (cache.size() > 25 || (!cache.empty() && random_() % 3 == 0)) return removal(cache, events);
    if (!cache.empty() && random_() % 6 == 0) return move(cache, events);
    store(cache, events);
  }
  static Json medium_name(policies::Medium medium) {
    return medium == policies::Medium::gpu ? Json() : Json("CPU");
  }
  void removal(EngineCache& cache, Json& events) {
    const auto which = std::next(cache.begin(), static_cast<long>(random_() % cache.size()));
    const auto [block, medium] = which->first;
    events.push_back({{"type", "BlockRemoved"},
                      {"block_hashes", {life().hash(block)}},
                      {"medium", medium_name(medium)}});
    if (--which->second == 0) cache.erase(which);
  }
  // To main memory, by its hash alone.
  void move(EngineCache& cache, Json& events) {
    const auto which = std::next(cache.begin(), static_cast<long>(random_() % cache.size()));
    stored(which->first.first, policies::Medium::cpu, false, 1, cache, events);
  }
  void store(EngineCache& cache, Json& events) {
    auto block = static_cast<std::uint32_t>(random_() % kTreeBlocks);
    while (!PromptTree::is_root(block) && !holds(cache, PromptTree::parent(block))) {
      block = PromptTree::parent(block);
    }
    const auto medium = random_() % 10 == 0 ? policies::Medium::cpu : policies::Medium::gpu;
    stored(block, medium, true, 1 + random_() % 3, cache, events);
  }
  // A chain of up to `most` blocks, downwards.
  void stored(std::uint32_t first, policies::Medium medium, bool with_tokens, std::uint64_t most,
              EngineCache& cache, Json& events) {
    Json hashes = Json::array(), tokens = Json::array();
    for (std::uint32_t block = first; most > 0 && block < kTreeBlocks; --most) {
      hashes.push_back(life().hash(block));
      for (const auto token : PromptTree::tokens(block)) tokens.push_back(token);
      ++cache[{block, medium}];
      block = 2 * block + kTreeRoots + random_() % 2;
    }
    Json event{{"type", "BlockStored"}, {"block_hashes", hashes}};
    const bool root = PromptTree::is_root(first);
    event["parent_block_hash"] = root ? Json() : Json(life().hash(PromptTree::parent(first)));
    event["token_ids"] = with_tokens ? tokens : Json::array();
    event["block_size"] = kTreeBlockTokens;
    event["medium"] = medium_name(medium);
    events.push_back(std::move(event));
  }

  double clock_s_;
  std::mt19937_64 random_;
  std::unordered_map<std::uint64_t, std::pair<std::size_t, std::uint64_t>> where_;
};

}  // namespace dualmesh::node::test
