// PromptChain: a prompt as a chain of block keys, the currency of rings and hit estimates.
//
// The canonical prompt text is cut into blocks of `block_bytes`; key i hashes block i chained with
// key i-1, so equal key i means equal text up to and including block i. The chain starts from the
// namespace (model or adapter name), so equal text under two models never meets.
//
// Blocks are hashed as they fill and chained at the end, when the namespace is known: it may come
// after the text.
//
// Invariant: the same bytes give the same chain however they were split over `update` calls. Of the
// text nothing is kept but what is less than a block.
// Threads: none; values.
// Source: chained block hashes as in vLLM's automatic prefix caching; XXH3-64 with a mesh-wide
// seed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dualmesh::policies {

using BlockKey = std::uint64_t;

struct PromptChain {
  std::vector<BlockKey> blocks;  // one per whole block
  BlockKey whole = 0;            // everything, the partial last block included
  std::uint64_t bytes = 0;

  // Key of the first `depth` blocks (depth >= 1); of the whole prompt when it is shorter.
  BlockKey prefix_key(std::size_t depth) const {
    return depth <= blocks.size() ? blocks[depth - 1] : whole;
  }
};

struct ChainParameters {
  std::uint32_t block_bytes = 2048;  // 512 tokens at about 4 bytes: the block of the DualMap paper
  std::uint64_t seed = 0x6475616c6d657368;
  bool operator==(const ChainParameters&) const = default;
};

class PromptChainBuilder {
 public:
  explicit PromptChainBuilder(const ChainParameters& parameters);

  void update(std::string_view bytes);
  void restart();  // as if nothing had come
  PromptChain finish(std::string_view name_space);  // the builder is spent afterwards
  std::uint64_t bytes() const { return chain_.bytes; }
  const ChainParameters& parameters() const { return parameters_; }

 private:
  ChainParameters parameters_;
  PromptChain chain_;  // until finish, the blocks' own hashes
  std::string partial_;
};

}  // namespace dualmesh::policies
