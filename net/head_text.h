// The characters of an HTTP head: what its lines, names and values are made of. Here, for the loops
// of the parser to take in whole.
//
// Threads: pure functions. Source: RFC 9110 5.5, 5.6.2, 5.6.3.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
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
#endif

}  // namespace head_text

// How many characters of a token `text` begins with. Letters, digits and `-` are nearly all of
// them.
inline std::size_t token_length(std::string_view text) {
  std::size_t length = 0;
#ifdef __SSE2__
  for (; text.size() - length >= 16; length += 16) {
    const __m128i bytes = head_text::load16(text.data() + length);
    const __m128i small = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
    const __m128i letter = head_text::at_most(_mm_sub_epi8(small, _mm_set1_epi8('a')), 25);
    const __m128i digit = head_text::at_most(_mm_sub_epi8(bytes, _mm_set1_epi8('0')), 9);
    const __m128i dash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'));
    const __m128i common = _mm_or_si128(_mm_or_si128(letter, digit), dash);
    const auto other = static_cast<unsigned>(_mm_movemask_epi8(common)) ^ 0xffffU;
    if (other == 0) continue;
    length += static_cast<std::size_t>(std::countr_zero(other));
    break;
  }
#endif
  while (length < text.size() &&
         head_text::token_characters[static_cast<unsigned char>(text[length])]) {
    ++length;
  }
  return length;
}

inline bool is_token(std::string_view text) {
  return !text.empty() && token_length(text) == text.size();
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
  for (; end - at >= 16; at += 16) {
    const __m128i bytes = head_text::load16(at);
    const __m128i low = head_text::at_most(bytes, 0x1f);
    const __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    const __m128i rubout = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    const __m128i found = _mm_or_si128(_mm_andnot_si128(tab, low), rubout);
    const auto mask = static_cast<unsigned>(_mm_movemask_epi8(found));
    if (mask != 0) return at + std::countr_zero(mask);
  }
#endif
  return std::find_if(at, end, is_control);
}

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
