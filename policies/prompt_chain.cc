// What is hashed here is short: a call would cost more than the hash.
#define XXH_INLINE_ALL

#include "policies/prompt_chain.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <boost/assert.hpp>

#include "policies/wide_hash.h"

namespace dualmesh::policies {

namespace {

BlockKey chained(BlockKey previous, std::uint64_t block_hash, std::uint64_t seed) {
  const std::array<std::uint64_t, 2> link{previous, block_hash};
  return XXH3_64bits_withSeed(link.data(), sizeof link, seed);
}

}  // namespace

PromptChainBuilder::PromptChainBuilder(const ChainParameters& parameters)
    : parameters_(parameters) {
  BOOST_ASSERT(parameters_.block_bytes > 0);
}

void PromptChainBuilder::update(std::string_view bytes) {
  const std::size_t block_bytes = parameters_.block_bytes;
  chain_.bytes += bytes.size();
  // Room for its blocks in one go, and no less than twice of what there was.
  const std::size_t blocks = chain_.bytes / block_bytes;
  if (blocks > chain_.blocks.capacity()) {
    chain_.blocks.reserve(std::max(blocks, 2 * chain_.blocks.capacity()));
  }
  const auto append = [&](std::string_view block) {
    chain_.blocks.push_back(wide_hash(block, parameters_.seed));
  };
  if (!partial_.empty()) {
    const std::size_t wanted = std::min(block_bytes - partial_.size(), bytes.size());
    partial_.append(bytes.substr(0, wanted));
    bytes.remove_prefix(wanted);
    if (partial_.size() < block_bytes) return;
    append(partial_);
    partial_.clear();
  }
  while (bytes.size() >= block_bytes) {
    append(bytes.substr(0, block_bytes));
    bytes.remove_prefix(block_bytes);
  }
  if (!bytes.empty()) partial_.reserve(block_bytes);
  partial_.append(bytes);
}

void PromptChainBuilder::restart() {
  chain_.blocks.clear();
  chain_.bytes = 0;
  partial_.clear();
}

PromptChain PromptChainBuilder::finish(std::string_view name_space) {
  const std::uint64_t seed = parameters_.seed;
  BlockKey previous = wide_hash(name_space, seed);
  for (BlockKey& block : chain_.blocks) previous = block = chained(previous, block, seed);
  chain_.whole = partial_.empty() ? previous : chained(previous, wide_hash(partial_, seed), seed);
  return std::move(chain_);
}

}  // namespace dualmesh::policies
