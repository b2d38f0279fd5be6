#include "policies/prompt_chain.h"

#include <doctest/doctest.h>

#include <random>

using namespace dualmesh::policies;

namespace {

std::string text_of(std::size_t bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::string text(bytes, ' ');
  for (char& c : text) c = static_cast<char>('a' + random() % 26);
  return text;
}

PromptChain chain(std::string_view text, std::string_view name_space = "m",
                  ChainParameters parameters = {}) {
  PromptChainBuilder builder(parameters);
  builder.update(text);
  return builder.finish(name_space);
}

}  // namespace

TEST_CASE("the same bytes give the same chain however they were split") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const std::string text = text_of(random() % 9000, random());
    ChainParameters parameters;
    parameters.block_bytes = round % 3 == 0 ? 2048 : 1 + random() % 700;
    const PromptChain whole = chain(text, "m", parameters);
    PromptChainBuilder builder(parameters);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t piece = std::min<std::size_t>(random() % 3000, text.size() - at);
      builder.update(std::string_view(text).substr(at, piece));
      at += piece;
    }
    const PromptChain split = builder.finish("m");
    CHECK(split.blocks == whole.blocks);
    CHECK(split.whole == whole.whole);
    CHECK(split.bytes == text.size());
    CHECK(whole.blocks.size() == text.size() / parameters.block_bytes);
  }
}

TEST_CASE("an equal key means equal text up to and including the block") {
  const std::string text = text_of(10 * 2048, 1);
  const PromptChain original = chain(text);
  for (std::size_t block = 0; block < 10; ++block) {
    std::string changed = text;
    changed[block * 2048 + 5] = '!';
    const PromptChain other = chain(changed);
    for (std::size_t i = 0; i < 10; ++i) {
      CHECK((other.blocks[i] == original.blocks[i]) == (i < block));
    }
    CHECK(other.whole != original.whole);
  }
}

TEST_CASE("blocks that change places give other keys") {
  const std::string a = text_of(2048, 1);
  const std::string b = text_of(2048, 2);
  CHECK(chain(a + b).blocks[1] != chain(b + a).blocks[1]);
  CHECK(chain(a + a).blocks[0] != chain(a + a).blocks[1]);
}

TEST_CASE("the namespace and the seed separate chains from the first key on") {
  const std::string text = text_of(4096, 3);
  ChainParameters other_seed;
  other_seed.seed = 99;
  CHECK(chain(text, "m").blocks[0] != chain(text, "n").blocks[0]);
  CHECK(chain(text).blocks[0] != chain(text, "m", other_seed).blocks[0]);
  CHECK(chain("", "m").whole != chain("", "n").whole);
}

TEST_CASE("the whole is the last block when nothing is left over, and else reaches further") {
  const std::string text = text_of(4096, 4);
  CHECK(chain(text).whole == chain(text).blocks.back());
  const PromptChain longer = chain(text + "x");
  CHECK(longer.blocks == chain(text).blocks);
  CHECK(longer.whole != longer.blocks.back());
  CHECK(longer.prefix_key(1) == longer.blocks[0]);
  CHECK(longer.prefix_key(2) == longer.blocks[1]);
  CHECK(longer.prefix_key(3) == longer.whole);
  CHECK(chain("short").prefix_key(1) == chain("short").whole);
}

TEST_CASE("keys stay what they are: nodes of other versions compare them") {
  struct Known {
    std::size_t bytes;
    BlockKey whole, last_block;
  };
  const Known known[] = {
      {0, 0xae9164588bfe25c5, 0},
      {1, 0x37adb6a79fb26728, 0},
      {2047, 0xdcef7b5af07660b7, 0},
      {2048, 0x084b00e6301fba2f, 0x084b00e6301fba2f},
      {2049, 0x1d82dc9637f4c8c9, 0x084b00e6301fba2f},
      {6144, 0x990ea2b3bfb67a54, 0x990ea2b3bfb67a54},
      {10000, 0x5eda6ffa952d9aea, 0x672cc1dff4586888},
  };
  for (const Known& wanted : known) {
    std::string text(wanted.bytes, ' ');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i * i % 26);
    const PromptChain found = chain(text, "llama");
    CAPTURE(wanted.bytes);
    CHECK(found.whole == wanted.whole);
    CHECK((found.blocks.empty() ? 0 : found.blocks.back()) == wanted.last_block);
  }
}

TEST_CASE("what came before a restart leaves no trace") {
  const std::string text = text_of(5000, 6);
  for (const std::size_t before : {0u, 10u, 2048u, 9000u}) {
    PromptChainBuilder builder(ChainParameters{});
    builder.update(text_of(before, 7));
    builder.restart();
    builder.update(text);
    CHECK(builder.bytes() == text.size());
    const PromptChain found = builder.finish("m");
    CHECK(found.blocks == chain(text).blocks);
    CHECK(found.whole == chain(text).whole);
    CHECK(found.bytes == text.size());
  }
}
