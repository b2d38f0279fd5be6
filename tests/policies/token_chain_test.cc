#include "policies/token_chain.h"

#include <doctest/doctest.h>

#include <numeric>
#include <random>
#include <set>

namespace dualmesh::policies {
namespace {

std::vector<BlockKey> chain(BlockKey root, std::uint32_t block_tokens,
                            const std::vector<TokenId>& tokens, std::size_t max_blocks = SIZE_MAX) {
  std::vector<BlockKey> keys;
  token_chain(root, block_tokens, tokens, keys, max_blocks);
  return keys;
}

std::vector<TokenId> some_tokens(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<TokenId> tokens(count);
  for (TokenId& token : tokens) token = random() % 150'000;
  return tokens;
}

TEST_CASE("a token chain has a key per whole block, as an engine's events make them one by one") {
  const BlockKey root = token_root(16, "", "");
  const std::vector<TokenId> tokens = some_tokens(16 * 5 + 7, 1);
  const std::vector<BlockKey> keys = chain(root, 16, tokens);
  REQUIRE(keys.size() == 5);
  BlockKey parent = root;
  for (std::size_t block = 0; block < keys.size(); ++block) {
    parent = token_block_key(parent, std::span(tokens).subspan(16 * block, 16));
    CHECK(keys[block] == parent);
    CHECK(parent != 0);
  }
  CHECK(chain(root, 16, tokens, 3) == std::vector(keys.begin(), keys.begin() + 3));
  CHECK(chain(root, 16, some_tokens(15, 1)).empty());
  std::vector<BlockKey> appended = {7};
  token_chain(root, 16, tokens, appended);
  CHECK(appended.size() == 6);
  CHECK(appended[0] == 7);
}

TEST_CASE("key i is equal exactly as far as the tokens are equal") {
  const BlockKey root = token_root(4, "", "");
  const std::vector<TokenId> tokens = some_tokens(40, 2);
  const std::vector<BlockKey> keys = chain(root, 4, tokens);
  for (std::size_t changed = 0; changed < tokens.size(); ++changed) {
    std::vector<TokenId> other = tokens;
    ++other[changed];
    const std::vector<BlockKey> others = chain(root, 4, other);
    for (std::size_t block = 0; block < keys.size(); ++block) {
      CHECK((others[block] == keys[block]) == (block < changed / 4));
    }
  }
}

TEST_CASE("block size, adapter and salt keep caches apart, and are not taken for each other") {
  const std::vector<BlockKey> roots = {token_root(16, "", ""),   token_root(32, "", ""),
                                       token_root(16, "a", ""),  token_root(16, "", "a"),
                                       token_root(16, "a", "a"), token_root(16, "aa", ""),
                                       token_root(16, "", "aa")};
  CHECK(std::set(roots.begin(), roots.end()).size() == roots.size());
  std::set<BlockKey> first_keys;
  const std::vector<TokenId> block(16, 5);
  for (BlockKey root : roots) first_keys.insert(token_block_key(root, block));
  CHECK(first_keys.size() == roots.size());
  CHECK(first_keys.count(0) == 0);
  for (const BlockKey key : first_keys) CHECK(key == block_name(key));
}

TEST_CASE("keys are the same on every node and in every build") {
  std::vector<TokenId> tokens(32);
  std::iota(tokens.begin(), tokens.end(), 0);
  const std::vector<BlockKey> keys = chain(token_root(16, "", ""), 16, tokens);
  CHECK(keys == std::vector<BlockKey>{0xe8ef5aa6ee2dd7ULL, 0x2b1883ac97fefaULL});
}

}  // namespace
}  // namespace dualmesh::policies
