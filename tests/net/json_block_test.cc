// JsonBlock beside one byte after the other, with every classifier of this machine.
#include "net/json_block.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace dualmesh::net;

namespace {

bool bit(std::uint64_t mask, std::size_t at) { return (mask >> at & 1) != 0; }

// Many of what counts, some of what is beside it.
std::string some_bytes(std::mt19937& random, std::size_t size) {
  const std::string telling("\"\\\\\\bfnrtu/az\x1f\x20\x7f\x80\xff\0\n", 20);
  std::string text;
  while (text.size() < size) {
    text += random() % 4 == 0 ? static_cast<char>(random()) : telling[random() % telling.size()];
    if (random() % 20 == 0) text.append(random() % 150, 'x');
  }
  return text.substr(0, size);
}

}  // namespace

TEST_CASE("every classifier says of every byte what it is") {
  std::mt19937 random(3);
  for (int round = 0; round < 3'000; ++round) {
    const std::size_t count = 1 + random() % JsonBlock::kMostRead;
    const std::string text = some_bytes(random, count * JsonBlock::kBytes);
    const std::vector<char> exact(text.begin(), text.end());  // so that a byte too far is seen
    for (std::size_t which = 0; which < json_classifiers().size(); ++which) {
      CAPTURE(which);
      JsonBlock blocks[JsonBlock::kMostRead];
      json_classifiers()[which](exact.data(), count, blocks);
      bool before = false;
      int wrong = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const std::string of = text.substr(i * JsonBlock::kBytes, JsonBlock::kBytes);
        const bool escapes = before || of.find('\\') != std::string::npos;
        before = of.back() == '\\';
        bool high = false;
        for (std::size_t at = 0; at < of.size(); ++at) {
          const auto byte = static_cast<unsigned char>(of[at]);
          const bool plain = std::string("\"\\bfnrt").find(of[at]) != std::string::npos;
          wrong += bit(blocks[i].quote, at) != (byte == '"');
          wrong += bit(blocks[i].backslash, at) != (byte == '\\');
          wrong += bit(blocks[i].control, at) != (byte < 0x20);
          wrong += bit(blocks[i].plain, at) != (plain && escapes);
          high |= byte >= 0x80;
        }
        wrong += blocks[i].high != high;
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("a short run ends where a byte says so") {
  std::mt19937 random(5);
  for (int round = 0; round < 20'000; ++round) {
    std::string text(JsonRun::kBytes, 'x');
    for (std::size_t changes = random() % 3; changes > 0; --changes) {
      text[random() % text.size()] = some_bytes(random, 1)[0];
    }
    const std::vector<char> exact(text.begin(), text.end());
    const JsonRun run = run_of(exact.data());
    std::size_t length = 0;
    bool high = false;
    for (; length < text.size(); ++length) {
      const auto byte = static_cast<unsigned char>(text[length]);
      if (byte == '"' || byte == '\\' || byte < 0x20) break;
      high |= byte >= 0x80;
    }
    CHECK(run.length == length);
    CHECK(run.high == high);
  }
}

TEST_CASE("what follows an odd run of backslashes is escaped, over the ends of blocks") {
  std::mt19937 random(4);
  for (int round = 0; round < 20'000; ++round) {
    std::uint64_t carry = 0;
    bool escaped = false;  // the byte to come
    for (int blocks = 0; blocks < 3; ++blocks) {
      std::uint64_t backslashes = random();
      backslashes = backslashes << 32 | random();
      if (round % 2 == 0) backslashes |= backslashes << 1 | backslashes >> 2;
      if (round % 5 == 0) backslashes = ~std::uint64_t{0} << random() % 64;
      const std::uint64_t found = escaped_by(backslashes, carry);
      for (std::size_t at = 0; at < 64; ++at) {
        const bool backslash = bit(backslashes, at);
        if (!backslash || at == 0) {
          CAPTURE(at);
          if (bit(found, at) != escaped) FAIL("round ", round);
        } else if (bit(found, at)) {
          FAIL("a backslash within a run");
        }
        escaped = backslash && !escaped;
      }
      CHECK(carry == (escaped ? 1 : 0));
    }
  }
}

TEST_CASE("what is shorter than a block ends with control characters") {
  for (std::size_t size = 1; size < 400; ++size) {
    const std::vector<char> text(size, 'x');
    JsonBlock blocks[JsonBlock::kMostRead];
    const std::size_t count = read_json(text.data(), text.data() + size, 3, blocks);
    CHECK(count == std::min<std::size_t>(std::max<std::size_t>(size / JsonBlock::kBytes, 1), 3));
    CHECK(blocks[0].control == (size < 64 ? ~std::uint64_t{0} << size : 0));
  }
}
