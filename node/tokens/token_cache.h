// TokenCache: the tokens of prompts that an engine has told, so that it is asked once.
//
// A prompt is found by the chain of its canonical text (policies/prompt_chain.h) and by what else
// makes other tokens of the same text (its template key). Found whole, its tokens are exact. A
// prompt whose text goes on from that of a known one, as a conversation's next turn does, begins
// with that one's tokens: all but the last, since templates end a prompt in words of their own and
// tokens join across the seam. So much of it is taken as known, which is enough to look its
// beginning up.
//
// Prompts that only share a beginning are no help: nobody says at which token a byte of text
// stands.
//
// Invariant: at most `max_bytes` in all, least recently used first out. Equal keys of 64 bits are
// taken for equal prompts; a wrong answer costs an estimate.
// Threads: all calls thread-safe; the lock is held for some look-ups in a table, and never while
// tokens are hashed, copied or freed. Source: ours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "policies/prompt_chain.h"
#include "policies/token_chain.h"

namespace dualmesh::node {

using TokenList = std::shared_ptr<const std::vector<policies::TokenId>>;

// A prompt as the cache knows it; made once per request.
struct TokenCacheKey {
  TokenCacheKey() = default;
  // `chain` is that of `canonical`, cut into blocks of `block_bytes`.
  TokenCacheKey(const policies::PromptChain& chain, std::string_view canonical,
                std::uint32_t block_bytes, std::uint64_t template_key);

  std::uint64_t whole = 0;
  std::uint64_t bytes = 0;
  std::uint64_t last_block = 0;  // 0: shorter than a block, and not found by what goes on from it
  std::uint64_t rest = 0;        // hash of what follows the last block
};

class TokenCache {
 public:
  // The last of these of a prompt that goes on are not taken over.
  static constexpr std::size_t kSeamTokens = 64;
  // So far back a prompt looks for one that it goes on from.
  static constexpr std::size_t kMaxLookBack = 64;  // blocks

  explicit TokenCache(std::size_t max_bytes);
  ~TokenCache();

  struct Found {
    TokenList tokens;         // null: nothing
    std::size_t certain = 0;  // the first of them that count
    std::uint64_t bytes = 0;  // of the text that has all of `tokens`
    bool whole = false;       // they are the prompt's
  };
  Found find(const TokenCacheKey& key, const policies::PromptChain& chain,
             std::string_view canonical, std::uint32_t block_bytes, std::uint64_t template_key);
  void insert(const TokenCacheKey& key, TokenList tokens);

  struct Stats {
    std::size_t entries = 0, bytes = 0;
    std::uint64_t found = 0, found_beginning = 0, missed = 0, evicted = 0;
  };
  Stats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::node
