// Cap'n Proto's stream framing as its specification says it, over bytes that are all there: the
// twin of net::FrameScanner.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <span>

namespace dualmesh {

struct FrameOutcome {
  std::uint64_t messages = 0;
  bool too_many_segments = false;
  bool too_large = false;
};

inline FrameOutcome read_frames(std::span<const std::uint8_t> bytes, std::uint64_t max_words) {
  FrameOutcome outcome;
  const auto u32 = [&](std::uint64_t at) {
    std::uint64_t value = 0;
    for (int i = 3; i >= 0; --i) value = value * 256 + bytes[at + static_cast<std::uint64_t>(i)];
    return value;
  };
  std::uint64_t at = 0;
  while (at + 4 <= bytes.size()) {
    const std::uint64_t segments = u32(at) + 1;
    if (segments >= 512) {
      outcome.too_many_segments = true;
      return outcome;
    }
    if (at + 4 + 4 * segments > bytes.size()) return outcome;
    std::uint64_t words = 0;
    for (std::uint64_t i = 0; i < segments; ++i) words += u32(at + 4 + 4 * i);
    if (words > max_words) {
      outcome.too_large = true;
      return outcome;
    }
    const std::uint64_t table = (4 + 4 * segments + 7) / 8 * 8;
    at += table + words * 8;
    if (at > bytes.size()) return outcome;
    ++outcome.messages;
  }
  return outcome;
}

}  // namespace dualmesh
