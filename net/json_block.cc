#include "net/json_block.h"

#include <algorithm>
#include <array>
#include <cstring>

#if defined(__SSE2__) && defined(__GNUC__)
#include <immintrin.h>
#define DUALMESH_JSON_SIMD 1
#endif

namespace dualmesh::net {
namespace {

enum Meaning : unsigned char { quote = 1, backslash = 2, control = 4, plain = 8, high = 16 };

constexpr std::array<unsigned char, 256> meanings = [] {
  std::array<unsigned char, 256> table{};
  for (std::size_t c = 0; c < 0x20; ++c) table[c] = control;
  for (std::size_t c = 0x80; c < 0x100; ++c) table[c] = high;
  for (const char c : {'b', 'f', 'n', 'r', 't'}) table[static_cast<unsigned char>(c)] = plain;
  table['"'] = quote | plain;
  table['\\'] = backslash | plain;
  return table;
}();

void classify_bytes(const char* from, std::size_t count, JsonBlock* blocks) {
  std::uint64_t before = 0;
  for (; count > 0; --count, ++blocks) {
    JsonBlock block{};
    for (std::size_t i = 0; i < JsonBlock::kBytes; ++i) {
      const unsigned char meaning = meanings[static_cast<unsigned char>(*from++)];
      const auto bit = [&](Meaning which) { return std::uint64_t{(meaning & which) != 0} << i; };
      block.quote |= bit(quote);
      block.backslash |= bit(backslash);
      block.control |= bit(control);
      block.plain |= bit(plain);
      block.high |= (meaning & high) != 0;
    }
    if ((before | block.backslash) == 0) block.plain = 0;
    before = block.backslash >> 63;
    *blocks = block;
  }
}

#ifdef DUALMESH_JSON_SIMD
// Both sets know only signed and equal, so "below 0x20" is "its minimum with 0x1f is itself". The
// letters: b and r differ in one bit, and so do f and n.
std::uint64_t ones(__m128i a, __m128i b, __m128i c, __m128i d) {
  const auto mask = [](__m128i bytes) {
    return std::uint64_t{static_cast<unsigned>(_mm_movemask_epi8(bytes))};
  };
  return mask(a) | mask(b) << 16 | mask(c) << 32 | mask(d) << 48;
}
__m128i equal(__m128i bytes, char to) { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(to)); }
__m128i controls(__m128i bytes) {
  return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
}
__m128i letters(__m128i bytes) {
  const __m128i br = equal(_mm_andnot_si128(_mm_set1_epi8('b' ^ 'r'), bytes), 'b');
  const __m128i fn = equal(_mm_andnot_si128(_mm_set1_epi8('f' ^ 'n'), bytes), 'f');
  return _mm_or_si128(_mm_or_si128(br, fn), equal(bytes, 't'));
}

void classify_sse2(const char* from, std::size_t count, JsonBlock* blocks) {
  std::uint64_t before = 0;
  for (; count > 0; --count, ++blocks, from += JsonBlock::kBytes) {
    const auto* const at = reinterpret_cast<const __m128i*>(from);
    const __m128i a = _mm_loadu_si128(at), b = _mm_loadu_si128(at + 1);
    const __m128i c = _mm_loadu_si128(at + 2), d = _mm_loadu_si128(at + 3);
    blocks->quote = ones(equal(a, '"'), equal(b, '"'), equal(c, '"'), equal(d, '"'));
    blocks->backslash = ones(equal(a, '\\'), equal(b, '\\'), equal(c, '\\'), equal(d, '\\'));
    blocks->control = ones(controls(a), controls(b), controls(c), controls(d));
    blocks->high = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) != 0;
    blocks->plain = (before | blocks->backslash) == 0
                        ? 0
                        : ones(letters(a), letters(b), letters(c), letters(d)) | blocks->quote |
                              blocks->backslash;
    before = blocks->backslash >> 63;
  }
}

#define DUALMESH_AVX2 __attribute__((target("avx2")))
DUALMESH_AVX2 inline std::uint64_t ones(__m256i a, __m256i b) {
  const std::uint64_t low = static_cast<unsigned>(_mm256_movemask_epi8(a));
  return low | std::uint64_t{static_cast<unsigned>(_mm256_movemask_epi8(b))} << 32;
}
DUALMESH_AVX2 inline __m256i equal(__m256i bytes, char to) {
  return _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(to));
}
DUALMESH_AVX2 inline __m256i controls(__m256i bytes) {
  return _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
}
DUALMESH_AVX2 inline __m256i letters(__m256i bytes) {
  const __m256i br = equal(_mm256_andnot_si256(_mm256_set1_epi8('b' ^ 'r'), bytes), 'b');
  const __m256i fn = equal(_mm256_andnot_si256(_mm256_set1_epi8('f' ^ 'n'), bytes), 'f');
  return _mm256_or_si256(_mm256_or_si256(br, fn), equal(bytes, 't'));
}

DUALMESH_AVX2 void classify_avx2(const char* from, std::size_t count, JsonBlock* blocks) {
  std::uint64_t before = 0;
  for (; count > 0; --count, ++blocks, from += JsonBlock::kBytes) {
    const auto* const at = reinterpret_cast<const __m256i*>(from);
    const __m256i a = _mm256_loadu_si256(at), b = _mm256_loadu_si256(at + 1);
    blocks->quote = ones(equal(a, '"'), equal(b, '"'));
    blocks->backslash = ones(equal(a, '\\'), equal(b, '\\'));
    blocks->control = ones(controls(a), controls(b));
    blocks->high = _mm256_movemask_epi8(_mm256_or_si256(a, b)) != 0;
    blocks->plain = (before | blocks->backslash) == 0
                        ? 0
                        : ones(letters(a), letters(b)) | blocks->quote | blocks->backslash;
    before = blocks->backslash >> 63;
  }
}

// Masks come straight from comparisons, a third of the instructions. Only where the first
// processors that slowed down at such vectors are excluded.
__attribute__((target("avx512bw"))) void classify_avx512(const char* from, std::size_t count,
                                                         JsonBlock* blocks) {
  std::uint64_t before = 0;
  for (; count > 0; --count, ++blocks, from += JsonBlock::kBytes) {
    const __m512i bytes = _mm512_loadu_si512(from);
    blocks->quote = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"'));
    blocks->backslash = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\\'));
    blocks->control = _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20));
    blocks->high = _mm512_movepi8_mask(bytes) != 0;
    blocks->plain = 0;
    if ((before | blocks->backslash) != 0) {
      const __m512i br = _mm512_andnot_si512(_mm512_set1_epi8('b' ^ 'r'), bytes);
      const __m512i fn = _mm512_andnot_si512(_mm512_set1_epi8('f' ^ 'n'), bytes);
      blocks->plain = _mm512_cmpeq_epi8_mask(br, _mm512_set1_epi8('b')) |
                      _mm512_cmpeq_epi8_mask(fn, _mm512_set1_epi8('f')) |
                      _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('t')) | blocks->quote |
                      blocks->backslash;
    }
    before = blocks->backslash >> 63;
  }
}

constexpr std::array<JsonClassifier, 4> classifiers{classify_bytes, classify_sse2, classify_avx2,
                                                    classify_avx512};
#else
constexpr std::array<JsonClassifier, 1> classifiers{classify_bytes};
#endif

}  // namespace

std::span<const JsonClassifier> json_classifiers() {
  const std::span all(classifiers);
#ifdef DUALMESH_JSON_SIMD
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return all.first(2);
  const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi");
  if (!wide) return all.first(3);
#endif
  return all;
}

const JsonClassifier classify_json = json_classifiers().back();

std::size_t read_json(const char* at, const char* end, std::size_t most,
                      JsonBlock (&blocks)[JsonBlock::kMostRead]) {
  const auto left = static_cast<std::size_t>(end - at);
  if (left >= JsonBlock::kBytes) {
    const std::size_t count = std::min(left / JsonBlock::kBytes, most);
    classify_json(at, count, blocks);
    return count;
  }
  char padded[JsonBlock::kBytes] = {};
  std::memcpy(padded, at, left);
  classify_json(padded, 1, blocks);
  return 1;
}

}  // namespace dualmesh::net
