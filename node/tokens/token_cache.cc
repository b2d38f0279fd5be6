#include "node/tokens/token_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <boost/container/static_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <list>
#include <mutex>

namespace dualmesh::node {

namespace {

// Beside its tokens: list node, two table slots, the vector's and the pointer's own.
constexpr std::size_t kEntryBytes = 256;

std::uint64_t mix(std::uint64_t key, std::uint64_t template_key) {
  const std::uint64_t both[] = {key, template_key};
  return std::max<std::uint64_t>(XXH3_64bits(both, sizeof both), 1);
}

std::uint64_t hash_of(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

}  // namespace

TokenCacheKey::TokenCacheKey(const policies::PromptChain& chain, std::string_view canonical,
                             std::uint32_t block_bytes, std::uint64_t template_key)
    : whole(mix(chain.whole, template_key)), bytes(canonical.size()) {
  if (chain.blocks.empty()) return;
  last_block = mix(chain.blocks.back(), template_key);
  rest = hash_of(canonical.substr(chain.blocks.size() * block_bytes));
}

struct TokenCache::State {
  struct Entry {
    TokenCacheKey key;
    TokenList tokens;
  };
  using Entries = std::list<Entry>;  // most recently used first

  static std::size_t bytes_of(const Entry& entry) {
    return kEntryBytes + entry.tokens->capacity() * sizeof(policies::TokenId);
  }
  void use(Entries::iterator at) { entries.splice(entries.begin(), entries, at); }
  void unlink(Entries::iterator at) {
    bytes -= bytes_of(*at);
    by_whole.erase(at->key.whole);
    const auto last = by_last_block.find(at->key.last_block);
    if (last != by_last_block.end() && last->second == at) by_last_block.erase(last);
  }

  std::size_t max_bytes = 0;
  mutable std::mutex mutex;  // guards the rest
  Entries entries;
  boost::unordered_flat_map<std::uint64_t, Entries::iterator> by_whole;
  boost::unordered_flat_map<std::uint64_t, Entries::iterator> by_last_block;  // the newest of each
  std::size_t bytes = 0;
  Stats stats;
};

TokenCache::TokenCache(std::size_t max_bytes) : state_(std::make_unique<State>()) {
  state_->max_bytes = max_bytes;
}

TokenCache::~TokenCache() = default;

TokenCache::Found TokenCache::find(const TokenCacheKey& key, const policies::PromptChain& chain,
                                   std::string_view canonical, std::uint32_t block_bytes,
                                   std::uint64_t template_key) {
  struct Candidate {
    std::size_t block;
    std::uint64_t bytes, rest;
    TokenList tokens;
  };
  boost::container::static_vector<Candidate, kMaxLookBack> candidates;
  boost::container::static_vector<std::uint64_t, kMaxLookBack> boundaries;  // the last block first
  const std::size_t blocks = chain.blocks.size();
  for (std::size_t i = 0; i < std::min(blocks, kMaxLookBack); ++i) {
    boundaries.push_back(mix(chain.blocks[blocks - 1 - i], template_key));
  }
  State& s = *state_;
  {
    const std::lock_guard lock(s.mutex);
    const auto whole = s.by_whole.find(key.whole);
    if (whole != s.by_whole.end() && whole->second->key.bytes == key.bytes) {
      s.use(whole->second);
      ++s.stats.found;
      const TokenList& tokens = whole->second->tokens;
      return {tokens, tokens->size(), key.bytes, true};
    }
    for (std::size_t i = 0; i < boundaries.size(); ++i) {
      const auto at = s.by_last_block.find(boundaries[i]);
      if (at == s.by_last_block.end()) continue;
      const TokenCacheKey& known = at->second->key;
      candidates.push_back({blocks - i, known.bytes, known.rest, at->second->tokens});
    }
  }
  // Whether the text goes on from theirs is hashed without the lock.
  for (Candidate& candidate : candidates) {
    const std::size_t from = candidate.block * block_bytes;
    if (candidate.bytes > canonical.size() || candidate.bytes < from) continue;
    if (hash_of(canonical.substr(from, candidate.bytes - from)) != candidate.rest) continue;
    if (candidate.tokens->size() <= kSeamTokens) continue;
    const std::size_t certain = candidate.tokens->size() - kSeamTokens;
    const std::lock_guard lock(s.mutex);
    ++s.stats.found_beginning;
    return {std::move(candidate.tokens), certain, candidate.bytes, false};
  }
  const std::lock_guard lock(s.mutex);
  ++s.stats.missed;
  return {};
}

void TokenCache::insert(const TokenCacheKey& key, TokenList tokens) {
  State& s = *state_;
  State::Entries fresh;
  fresh.push_back({key, std::move(tokens)});
  const std::size_t bytes = State::bytes_of(fresh.front());
  if (bytes > s.max_bytes) return;
  State::Entries dropped;  // freed when the lock is not held any more
  const std::lock_guard lock(s.mutex);
  const auto known = s.by_whole.find(key.whole);
  if (known != s.by_whole.end()) {
    const auto old = known->second;
    s.unlink(old);
    dropped.splice(dropped.begin(), s.entries, old);
  }
  while (s.bytes + bytes > s.max_bytes) {
    const auto oldest = std::prev(s.entries.end());
    s.unlink(oldest);
    dropped.splice(dropped.begin(), s.entries, oldest);
    ++s.stats.evicted;
  }
  s.entries.splice(s.entries.begin(), fresh);
  s.bytes += bytes;
  s.by_whole[key.whole] = s.entries.begin();
  if (key.last_block != 0) s.by_last_block[key.last_block] = s.entries.begin();
}

TokenCache::Stats TokenCache::stats() const {
  const std::lock_guard lock(state_->mutex);
  Stats stats = state_->stats;
  stats.entries = state_->entries.size();
  stats.bytes = state_->bytes;
  return stats;
}

}  // namespace dualmesh::node
