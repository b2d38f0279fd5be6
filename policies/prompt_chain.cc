#include "policies/prompt_chain.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <boost/assert.hpp>

namespace dualmesh::policies {

namespace {

BlockKey chained(BlockKey previous, std::string_view block, std::uint64_t seed) {
  const std::array<std::uint64_t, 2> link{previous,
                                          XXH3_64bits_withSeed(block.data(), block.size(), seed)};
  return XXH3_64bits_withSeed(link.data(), sizeof link, seed);
}

}  // namespace

PromptChainBuilder::PromptChainBuilder(const ChainParameters& parameters,
                                       std::string_view name_space)
    : parameters_(parameters),
      previous_(XXH3_64bits_withSeed(name_space.data(), name_space.size(), parameters.seed)) {
  BOOST_ASSERT(parameters_.block_bytes > 0);
}

void PromptChainBuilder::update(std::string_view bytes) {
  const std::size_t block_bytes = parameters_.block_bytes;
  chain_.bytes += bytes.size();
  const auto append = [&](std::string_view block) {
    previous_ = chained(previous_, block, parameters_.seed);
    chain_.blocks.push_back(previous_);
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
  partial_.append(bytes);
}

PromptChain PromptChainBuilder::finish() {
  chain_.whole = partial_.empty() ? previous_ : chained(previous_, partial_, parameters_.seed);
  return std::move(chain_);
}

}  // namespace dualmesh::policies
