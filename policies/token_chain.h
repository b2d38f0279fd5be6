// TokenChain: a prompt as a chain of keys over its token ids, the currency of cache knowledge.
//
// An engine caches whole blocks of `block_tokens` tokens. Key i hashes the tokens of block i
// chained with key i-1; the first is chained with a root made of what else tells two caches
// apart: block size, LoRA adapter and cache salt. Nodes make the same keys from an engine's
// events and from a prompt's tokens, so they meet in policies/block_index.h; an engine's own
// block hashes depend on its version, seed and settings and never leave its stream.
//
// Invariant: equal keys mean equal block size, adapter, salt and tokens up to and including the
// block. 0 is no key; a key is its own block_name().
// Threads: none; pure functions.
// Source: request keys beside engine keys as in llm-d's cache index; XXH3-64, cut.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::policies {

using TokenId = std::uint32_t;

// What names a block, a key here or an engine's hash, has so many bits wherever it is held or sent,
// for it is most of what nodes tell each other. With 10 million blocks held a look-up of one that
// is not finds it all the same once in 7 x 10^9 times; of a stream's 150,000 blocks two have equal
// hashes with a chance of 1.6 x 10^-7.
inline constexpr unsigned kBlockNameBits = 56;
constexpr std::uint64_t block_name(std::uint64_t hash) {
  return hash & ((std::uint64_t{1} << kBlockNameBits) - 1);
}

// `lora` and `salt` are empty where there is none.
BlockKey token_root(std::uint32_t block_tokens, std::string_view lora, std::string_view salt);
BlockKey token_block_key(BlockKey parent, std::span<const TokenId> block);
// Appends one key per whole block of `tokens` to `keys`, chained from `root`; at most `max_blocks`.
void token_chain(BlockKey root, std::uint32_t block_tokens, std::span<const TokenId> tokens,
                 std::vector<BlockKey>& keys, std::size_t max_blocks = SIZE_MAX);

}  // namespace dualmesh::policies
