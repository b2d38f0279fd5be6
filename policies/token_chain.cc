#include "policies/token_chain.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <boost/assert.hpp>

namespace dualmesh::policies {

namespace {

constexpr std::uint64_t kSeed = 0x746f6b656e636861ULL;

BlockKey hashed(const void* bytes, std::size_t size, std::uint64_t seed) {
  const BlockKey key = block_name(XXH3_64bits_withSeed(bytes, size, seed));
  return key != 0 ? key : 1;
}

}  // namespace

BlockKey token_root(std::uint32_t block_tokens, std::string_view lora, std::string_view salt) {
  const std::array<std::uint64_t, 3> parts{block_tokens, hashed(lora.data(), lora.size(), kSeed),
                                           hashed(salt.data(), salt.size(), kSeed)};
  return hashed(parts.data(), sizeof parts, kSeed);
}

BlockKey token_block_key(BlockKey parent, std::span<const TokenId> block) {
  return hashed(block.data(), block.size_bytes(), parent);
}

void token_chain(BlockKey root, std::uint32_t block_tokens, std::span<const TokenId> tokens,
                 std::vector<BlockKey>& keys, std::size_t max_blocks) {
  BOOST_ASSERT(block_tokens > 0);
  const std::size_t blocks = std::min(tokens.size() / block_tokens, max_blocks);
  keys.reserve(keys.size() + blocks);
  for (std::size_t block = 0; block < blocks; ++block) {
    root = token_block_key(root, tokens.subspan(block * block_tokens, block_tokens));
    keys.push_back(root);
  }
}

}  // namespace dualmesh::policies
