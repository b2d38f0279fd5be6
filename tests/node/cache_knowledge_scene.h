// Caches of some instances and one prompt, for tests of what is expected of them.
#pragma once

#include <memory>
#include <numeric>
#include <string_view>
#include <vector>

#include "node/router/cache_knowledge.h"

namespace dualmesh::node::testing {

inline constexpr std::uint32_t kBlock = 16;         // tokens, of the engines
inline constexpr std::uint32_t kText = 64;          // tokens in a block of text
inline constexpr std::uint32_t kBytes = 4 * kText;  // in a block of text
inline constexpr policies::Time kNow = std::chrono::seconds(1'000);

struct CacheScene {
  // One cache each for slots 0, 1, ..., so known.
  explicit CacheScene(const std::vector<policies::HitSource>& confidences) {
    view.caches.push_back({});  // the shared medium
    for (const policies::HitSource confidence : confidences) {
      const auto slot = static_cast<policies::Slot>(view.caches.size() - 1);
      view.caches.push_back({slot, 0, confidence, kBlock});
    }
    view.index = &index;
    view.removals = &removals;
    ids.resize(400);
    std::iota(ids.begin(), ids.end(), policies::TokenId{7});
    knowledge.set_kinds({{"m", false}});
    show();
  }
  void show() {
    view.derive();
    knowledge.publish(std::make_shared<const KvView>(view));
  }
  std::vector<policies::BlockKey> keys(std::size_t blocks, std::string_view lora = {},
                                       std::string_view salt = {},
                                       std::uint32_t block_tokens = kBlock) const {
    std::vector<policies::BlockKey> keys;
    policies::token_chain(policies::token_root(block_tokens, lora, salt), block_tokens, ids, keys,
                          blocks);
    return keys;
  }
  // The first `blocks` of the prompt are held there.
  void hold(policies::CacheId cache, std::size_t blocks, std::string_view lora = {},
            std::string_view salt = {}, std::uint32_t block_tokens = kBlock,
            policies::Medium medium = policies::Medium::gpu) {
    std::uint16_t depth = 0;
    for (const policies::BlockKey key : keys(blocks, lora, salt, block_tokens)) {
      index.add(key, cache, medium, depth++);
    }
  }
  // A request with so many tokens; blocks of text are named by their places.
  policies::Arrival arrival(std::size_t tokens) const {
    policies::Arrival arrival;
    arrival.model = "m";
    arrival.block_tokens = kText;
    arrival.input_tokens = static_cast<std::uint32_t>(tokens);
    arrival.chain.bytes = tokens * 4;
    for (std::size_t i = 1; i <= tokens / kText; ++i) arrival.chain.blocks.push_back(i);
    return arrival;
  }
  policies::Arrival look_up(std::size_t tokens = 400, std::size_t known = 400,
                            std::string_view salt = {}) {
    policies::Arrival result = arrival(tokens);
    KnownTokens of_prompt{std::span(ids).first(known), known > 0 ? std::uint32_t(tokens) : 0, salt,
                          kBytes};
    ranks = {.wanted = ranks.wanted, .of_instances = {}};
    knowledge.look_up(result, of_prompt, ranks);
    return result;
  }
  void place(policies::Slot slot, std::size_t blocks, policies::Time now = kNow) {
    std::vector<policies::BlockKey> keys(blocks);
    std::iota(keys.begin(), keys.end(), policies::BlockKey{1});
    residency.placed_here(slot, keys, now);
  }

  policies::BlockIndex index{{100'000}};
  policies::RemovalMarks removals;
  SharedResidency residency{{}};
  CacheKnowledge knowledge{residency};
  KvView view;
  std::vector<policies::TokenId> ids;
  RankChoices ranks;  // of the last look-up
};

}  // namespace dualmesh::node::testing
