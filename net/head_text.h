// The characters of an HTTP head: what its lines, names and values are made of. Here, for the loops
// of the parser to take in whole.
//
// Threads: pure functions. Source: RFC 9110 5.5, 5.6.2, 5.6.3.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace dualmesh::net {
namespace head_text {

constexpr std::array<bool, 256> token_table() {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = true;
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}
inline constexpr auto token_characters = token_table();

#ifdef __SSE2__
inline __m128i load16(const char* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
// Ones where a byte is at most `most`, taken as unsigned.
inline __m128i at_most(__m128i bytes, char most) {
  return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(most)), bytes);
}
// Ones where control characters are among the 16 bytes from `from` on.
inline unsigned controls(const char* from) {
  const __m128i bytes = load16(from);
  const __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
  const __m128i rubout = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
  const __m128i found = _mm_or_si128(_mm_andnot_si128(tab, at_most(bytes, 0x1f)), rubout);
  return static_cast<unsigned>(_mm_movemask_epi8(found));
}
#endif

}  // namespace head_text

// The end of the token that begins at `at`, none behind `end`. Letters, digits and `-` are nearly
// all there is in names. What ends a line is in no token: `end` may be that of all bytes received.
inline const char* token_end(const char* at, const char* end) {
  for (;; ++at) {
#ifdef __SSE2__
    for (unsigned other = 0; other == 0 && end - at >= 16;) {
      const __m128i bytes = head_text::load16(at);
      const __m128i small = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
      const __m128i letter = head_text::at_most(_mm_sub_epi8(small, _mm_set1_epi8('a')), 25);
      const __m128i digit = head_text::at_most(_mm_sub_epi8(bytes, _mm_set1_epi8('0')), 9);
      const __m128i dash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'));
      const __m128i common = _mm_or_si128(_mm_or_si128(letter, digit), dash);
      other = static_cast<unsigned>(_mm_movemask_epi8(common)) ^ 0xffffU;
      at += other == 0 ? 16 : std::countr_zero(other);
    }
#endif
    if (at == end || !head_text::token_characters[static_cast<unsigned char>(*at)]) return at;
  }
}

inline bool is_token(std::string_view text) {
  const char* const end = text.data() + text.size();
  return !text.empty() && token_end(text.data(), end) == end;
}

// Nothing but visible ASCII, TAB, space and bytes above 127 may stand in a line.
inline bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

inline bool is_field_value(std::string_view text) { return std::ranges::none_of(text, is_control); }

// The first control character; `end` if there is none.
inline const char* find_control(const char* at, const char* end) {
#ifdef __SSE2__
  const bool is_short = end - at < 16;
  for (; end - at >= 16; at += 16) {
    if (const unsigned found = head_text::controls(at)) return at + std::countr_zero(found);
  }
  if (at != end && !is_short) {  // the last 16, of which some have been looked at
    const unsigned found = head_text::controls(end - 16) >> (16 - (end - at));
    return found == 0 ? end : at + std::countr_zero(found);
  }
#endif
  while (at != end && !is_control(*at)) ++at;
  return at;
}

// A value of our own making could carry a line end from outside; it must not become a field.
inline void blank_line_ends(char* at, char* end) {
  for (; (at = const_cast<char*>(find_control(at, end))) != end; ++at) {
    if (*at == '\r' || *at == '\n' || *at == '\0') *at = ' ';
  }
}

// Finds what may end a line or spoil it: control characters, and for speed TABs and bytes above 127
// with them. 64 bytes of a text at a time, each once.
class StopFinder {
 public:
  explicit StopFinder(std::string_view text)
      : block_(text.data()), end_(block_ + text.size()), stops_(read()) {}

  // The first from `from` on, which never goes back; the text's end if there is none.
  [[gnu::always_inline]] const char* next(const char* from) {
    for (;;) {
      if (from - block_ < kBytes) {
        if (const std::uint64_t left = stops_ >> (from - block_)) {
          return from + std::countr_zero(left);
        }
      }
      if (end_ - block_ <= kBytes) return end_;
      block_ += kBytes;
      from = std::max(from, block_);
      stops_ = read();
    }
  }

 private:
  static constexpr std::ptrdiff_t kBytes = 64;

  std::uint64_t read() const {
    if (end_ - block_ >= kBytes) return stops_of(block_);
    char padded[kBytes];
    std::fill_n(padded, kBytes, ' ');
    std::copy(block_, end_, padded);
    return stops_of(padded);
  }
  static std::uint64_t stops_of(const char* from) {
#ifdef __SSE2__
    // Signed, with one added: 0x7f and all above 127 are below 0x21 as well.
    const auto stops = [from](int at) {
      const __m128i bytes = _mm_add_epi8(head_text::load16(from + at), _mm_set1_epi8(1));
      const __m128i stop = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x21));
      return std::uint64_t{static_cast<unsigned>(_mm_movemask_epi8(stop))} << at;
    };
    return stops(0) | stops(16) | stops(32) | stops(48);
#else
    std::uint64_t stops = 0;
    for (std::ptrdiff_t i = 0; i < kBytes; ++i) {
      const auto byte = static_cast<unsigned char>(from[i]);
      stops |= std::uint64_t{byte < 0x20 || byte >= 0x7f} << i;
    }
    return stops;
#endif
  }

  const char* block_;
  const char* const end_;
  std::uint64_t stops_;
};

// Without the spaces and TABs around it.
inline std::string_view trim(std::string_view text) {
  if (text.size() > 1 && text[0] == ' ' && text[1] > ' ' && text.back() > ' ') {  // nearly always
    return text.substr(1);
  }
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace dualmesh::net
