// TokenChain: a prompt as a chain of keys over its token ids, the currency of cache knowledge.
//
// An engine caches whole blocks of `block_tokens` tokens. Key i hashes the tokens of block i
// chained with key i-1; the first is chained with a root made of what else tells two caches
// apart: block size, LoRA adapter and cache salt. Nodes make the same keys from an engine's
// events and from a prompt's tokens, so they meet in policies/block_index.h; an engine's own
// block hashes depend on its version, seed and settings and never leave its stream.
//
// Invariant: equal keys mean equal block size, adapter, salt and tokens up to and including the
// block. 0 is no key.
// Threads: none; pure functions.
// Source: request keys beside engine keys as in llm-d's cache index; XXH3-64.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::policies {

using TokenId = std::uint32_t;

// `lora` and `salt` are empty where there is none.
BlockKey token_root(std::uint32_t block_tokens, std::string_view lora, std::string_view salt);
BlockKey token_block_key(BlockKey parent, std::span<const TokenId> block);
// Appends one key per whole block of `tokens` to `keys`, chained from `root`; at most `max_blocks`.
void token_chain(BlockKey root, std::uint32_t block_tokens, std::span<const TokenId> tokens,
                 std::vector<BlockKey>& keys, std::size_t max_blocks = SIZE_MAX);

}  // namespace dualmesh::policies
