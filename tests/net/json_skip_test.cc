// Skips over strings beside one byte after the other, with every skipper of this machine.
#include "net/json_skip.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
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

bool may_follow_backslash(char c) {
  return std::string_view("\"\\bfnrt").find(c) != std::string_view::npos;
}

// Where what is not minimal begins, an escape that is cut off among it.
std::size_t skip_naively(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && text[at] != '"' && static_cast<unsigned char>(text[at]) >= 0x20) {
    if (text[at] == '\\' && (at + 1 == text.size() || !may_follow_backslash(text[at + 1]))) break;
    at += text[at] == '\\' ? 2 : 1;
  }
  return at;
}

bool has_high(std::string_view text) {
  return std::ranges::any_of(text, [](unsigned char byte) { return byte >= 0x80; });
}
bool has_backslash(std::string_view text) { return text.find('\\') != std::string_view::npos; }

// Minimal for long, or not.
std::string some_string(std::mt19937& random) {
  constexpr std::size_t block = kJsonBlockBytes;
  std::string text = some_bytes(random, random() % (8 * block));
  for (std::size_t at = 0; random() % 8 != 0 && (at = skip_naively(text)) < text.size();) {
    text[at] = 'x';
  }
  return text;
}

}  // namespace

TEST_CASE("every skipper passes what is minimal, and nothing else") {
  std::mt19937 random(3);
  for (int round = 0; round < 5'000; ++round) {
    std::string text = some_string(random);
    text.resize(text.size() / kJsonBlockBytes * kJsonBlockBytes);
    const std::vector<char> exact(text.begin(), text.end());  // so that a byte too far is seen
    const std::size_t stop = skip_naively(text);
    for (std::size_t which = 0; which < json_skippers().size(); ++which) {
      CAPTURE(which);
      const JsonSkip skip = json_skippers()[which](exact.data(), exact.data() + exact.size());
      const auto at = static_cast<std::size_t>(skip.at - exact.data());
      const bool cut_off = stop + 1 == text.size() && text[stop] == '\\';
      CHECK(at == stop);
      CHECK(skip.ended == (stop < text.size() && !cut_off));
      CHECK((skip.high || !has_high(text.substr(0, at))));
      CHECK((!skip.high || has_high(text)));
      CHECK((skip.escaped || !has_backslash(text.substr(0, at))));
      CHECK((!skip.escaped || has_backslash(text.substr(0, at + 1))));
    }
  }
}

TEST_CASE("what is minimal is passed, of whatever size") {
  std::mt19937 random(6);
  for (int round = 0; round < 10'000; ++round) {
    const std::string text = some_string(random);
    const std::vector<char> exact(text.begin(), text.end());
    bool high = false, escaped = false;
    const char* const at = skip_minimal(exact.data(), exact.data() + exact.size(), high, escaped);
    const std::size_t stop = skip_naively(text);
    CHECK(at == exact.data() + stop);
    CHECK((high || !has_high(text.substr(0, stop))));
    CHECK((escaped || !has_backslash(text.substr(0, stop))));
    CHECK((!escaped || has_backslash(text.substr(0, stop + 1))));
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

TEST_CASE("a run ends where a byte says so, at every place and length") {
  for (std::size_t length = 0; length < 200; ++length) {
    for (const char stop : {'"', '\\', '\x1f', '\0'}) {
      for (std::size_t at = 0; at <= length; ++at) {
        std::vector<char> text(length, 'x');
        if (at < length) text[at] = stop;
        bool high = false;
        const char* const end = text.data() + length;
        CHECK(find_in_string(text.data(), end, high) == text.data() + at);
        CHECK_FALSE(high);
      }
    }
  }
  for (std::size_t at = 0; at < 150; ++at) {
    std::string text(150, ' ');
    text[at] = '\x80';
    bool high = false;
    CHECK(find_in_string(text.data(), text.data() + text.size(), high) == text.data() + 150);
    CHECK(high);
  }
}
