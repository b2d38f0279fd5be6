#include "net/json_skip.h"

#include <algorithm>
#include <array>

#if defined(__SSE2__) && defined(__GNUC__)
#include <immintrin.h>
#define DUALMESH_JSON_SIMD 1
#endif

namespace dualmesh::net {
namespace {

// A skip over blocks, told their bytes as bits.
struct BlockSkip {
  // How many of the next 64 bytes are passed, which are a backslash, end a string, or may follow a
  // backslash; -1 where the last byte before them begins an escape that may not be passed.
  std::ptrdiff_t pass(std::uint64_t backslash, std::uint64_t ends, std::uint64_t plain) {
    std::uint64_t unusual = 0;
    if ((backslash | carry) != 0) {
      const std::uint64_t after = escaped_by(backslash, carry);
      unusual = after & ~plain;
      ends = (ends & ~after) | unusual;
    }
    if (ends == 0) {
      backslashes |= backslash;
      return kJsonBlockBytes;
    }
    const int end = std::countr_zero(ends);
    backslashes |= backslash & ((std::uint64_t{1} << end) - 1);
    return end - static_cast<int>(unusual >> end & 1);
  }
  // With the bytes passed last.
  JsonSkip at(const char* from, std::ptrdiff_t passed, bool high) const {
    const bool ended = passed != kJsonBlockBytes;
    return {ended ? from : from - carry, ended, high, backslashes != 0};
  }

  std::uint64_t carry = 0;
  std::uint64_t backslashes = 0;
};

enum Meaning : unsigned char { ends = 1, backslash = 2, plain = 4, high = 8 };

constexpr std::array<unsigned char, 256> meanings = [] {
  std::array<unsigned char, 256> table{};
  for (std::size_t c = 0; c < 0x20; ++c) table[c] = ends;
  for (std::size_t c = 0x80; c < 0x100; ++c) table[c] = high;
  for (const char c : {'b', 'f', 'n', 'r', 't'}) table[static_cast<unsigned char>(c)] = plain;
  table['"'] = ends | plain;
  table['\\'] = backslash | plain;
  return table;
}();

JsonSkip skip_bytes(const char* from, const char* end) {
  BlockSkip skip;
  unsigned char all = 0;
  std::ptrdiff_t passed = kJsonBlockBytes;
  for (; end - from >= kJsonBlockBytes && passed == kJsonBlockBytes; from += passed) {
    std::uint64_t of_ends = 0, of_backslash = 0, of_plain = 0;
    for (std::ptrdiff_t i = 0; i < kJsonBlockBytes; ++i) {
      const unsigned char meaning = meanings[static_cast<unsigned char>(from[i])];
      const auto bit = [&](Meaning which) { return std::uint64_t{(meaning & which) != 0} << i; };
      of_ends |= bit(ends);
      of_backslash |= bit(backslash);
      of_plain |= bit(plain);
      all |= meaning;
    }
    passed = skip.pass(of_backslash, of_ends, of_plain);
  }
  return skip.at(from, passed, (all & high) != 0);
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
__m128i ending(__m128i bytes) {
  const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
  return _mm_or_si128(control, equal(bytes, '"'));
}
__m128i following(__m128i bytes) {
  const __m128i br = equal(_mm_andnot_si128(_mm_set1_epi8('b' ^ 'r'), bytes), 'b');
  const __m128i fn = equal(_mm_andnot_si128(_mm_set1_epi8('f' ^ 'n'), bytes), 'f');
  const __m128i t_quote = _mm_or_si128(equal(bytes, 't'), equal(bytes, '"'));
  return _mm_or_si128(_mm_or_si128(br, fn), _mm_or_si128(t_quote, equal(bytes, '\\')));
}

JsonSkip skip_sse2(const char* from, const char* end) {
  BlockSkip skip;
  __m128i all = _mm_setzero_si128();
  std::ptrdiff_t passed = kJsonBlockBytes;
  for (; end - from >= kJsonBlockBytes && passed == kJsonBlockBytes; from += passed) {
    const auto* const at = reinterpret_cast<const __m128i*>(from);
    const __m128i a = _mm_loadu_si128(at), b = _mm_loadu_si128(at + 1);
    const __m128i c = _mm_loadu_si128(at + 2), d = _mm_loadu_si128(at + 3);
    all = _mm_or_si128(all, _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d)));
    const std::uint64_t escapes =
        ones(equal(a, '\\'), equal(b, '\\'), equal(c, '\\'), equal(d, '\\'));
    std::uint64_t plain = 0;
    if ((escapes | skip.carry) != 0) {
      plain = ones(following(a), following(b), following(c), following(d));
    }
    passed = skip.pass(escapes, ones(ending(a), ending(b), ending(c), ending(d)), plain);
  }
  return skip.at(from, passed, _mm_movemask_epi8(all) != 0);
}

// What may follow a backslash, by its low four bits, but for what shares them with b.
alignas(16) constexpr std::array<char, 16> by_four_bits = [] {
  std::array<char, 16> table{'\xff'};
  for (const char c : {'\\', 'b', 'f', 'n', 't'}) table[c & 15] = c;
  return table;
}();

#define DUALMESH_AVX2 __attribute__((target("avx2")))
DUALMESH_AVX2 inline std::uint64_t ones(__m256i a, __m256i b) {
  const std::uint64_t low = static_cast<unsigned>(_mm256_movemask_epi8(a));
  return low | std::uint64_t{static_cast<unsigned>(_mm256_movemask_epi8(b))} << 32;
}
DUALMESH_AVX2 inline __m256i equal(__m256i bytes, char to) {
  return _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(to));
}
DUALMESH_AVX2 inline __m256i ending(__m256i bytes) {
  const __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(bytes, _mm256_set1_epi8(0x1f)), bytes);
  return _mm256_or_si256(control, equal(bytes, '"'));
}
DUALMESH_AVX2 inline __m256i following(__m256i bytes, __m256i table) {
  const __m256i found = _mm256_cmpeq_epi8(_mm256_shuffle_epi8(table, bytes), bytes);
  return _mm256_or_si256(found, _mm256_or_si256(equal(bytes, 'r'), equal(bytes, '"')));
}

DUALMESH_AVX2 JsonSkip skip_avx2(const char* from, const char* end) {
  BlockSkip skip;
  const __m256i table = _mm256_broadcastsi128_si256(
      _mm_load_si128(reinterpret_cast<const __m128i*>(by_four_bits.data())));
  __m256i all = _mm256_setzero_si256();
  std::ptrdiff_t passed = kJsonBlockBytes;
  for (; end - from >= kJsonBlockBytes && passed == kJsonBlockBytes; from += passed) {
    const auto* const at = reinterpret_cast<const __m256i*>(from);
    const __m256i a = _mm256_loadu_si256(at), b = _mm256_loadu_si256(at + 1);
    all = _mm256_or_si256(all, _mm256_or_si256(a, b));
    passed = skip.pass(ones(equal(a, '\\'), equal(b, '\\')), ones(ending(a), ending(b)),
                       ones(following(a, table), following(b, table)));
  }
  return skip.at(from, passed, _mm256_movemask_epi8(all) != 0);
}

// What may follow a backslash, but for the quote, by its low six bits.
alignas(64) constexpr std::array<char, 64> by_six_bits = [] {
  std::array<char, 64> table{'\xff'};
  for (const char c : {'\\', 'b', 'f', 'n', 'r', 't'}) table[c & 63] = c;
  return table;
}();

// Masks come straight from comparisons, a third of the instructions. Only where the first
// processors that slowed down at such vectors are excluded.
__attribute__((target("avx512bw,avx512vbmi"))) JsonSkip skip_avx512(const char* from,
                                                                    const char* end) {
  BlockSkip skip;
  const __m512i table = _mm512_load_si512(by_six_bits.data());
  __m512i all = _mm512_setzero_si512();
  std::ptrdiff_t passed = kJsonBlockBytes;
  for (; end - from >= kJsonBlockBytes && passed == kJsonBlockBytes; from += passed) {
    const __m512i bytes = _mm512_loadu_si512(from);
    all = _mm512_or_si512(all, bytes);
    const std::uint64_t escapes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\\'));
    const std::uint64_t quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"'));
    const std::uint64_t controls = _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20));
    const __m512i found = _mm512_permutexvar_epi8(bytes, table);
    passed = skip.pass(escapes, quotes | controls, quotes | _mm512_cmpeq_epi8_mask(found, bytes));
  }
  return skip.at(from, passed, _mm512_movepi8_mask(all) != 0);
}

constexpr std::array<JsonSkipper, 4> skippers{skip_bytes, skip_sse2, skip_avx2, skip_avx512};
#else
constexpr std::array<JsonSkipper, 1> skippers{skip_bytes};
#endif

const JsonSkipper skip_blocks = json_skippers().back();

}  // namespace

std::span<const JsonSkipper> json_skippers() {
  const std::span all(skippers);
#ifdef DUALMESH_JSON_SIMD
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2")) return all.first(2);
  const bool wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vbmi");
  if (!wide) return all.first(3);
#endif
  return all;
}

const char* skip_minimal(const char* from, const char* end, bool& high, bool& escaped) {
  const auto skip = [&](const char* begin, const char* behind) {
    const JsonSkip skipped = skip_blocks(begin, behind);
    high = high || skipped.high;
    escaped = escaped || skipped.escaped;
    return skipped;
  };
  while (end - from >= kJsonBlockBytes) {
    const JsonSkip skipped = skip(from, end);
    from = skipped.at;
    if (skipped.ended) return from;
  }
  if (from == end) return end;
  char last[kJsonBlockBytes] = {};  // control characters are behind what is there
  std::copy(from, end, last);
  return from + (skip(last, last + kJsonBlockBytes).at - last);
}

const char* find_in_string(const char* from, const char* end, bool& high) {
  for (; end - from >= static_cast<std::ptrdiff_t>(JsonRun::kBytes); from += JsonRun::kBytes) {
    const JsonRun run = run_of(from);
    high = high || run.high;
    if (run.length < JsonRun::kBytes) return from + run.length;
  }
  for (; from != end; ++from) {
    const unsigned char meaning = meanings[static_cast<unsigned char>(*from)];
    if ((meaning & (ends | backslash)) != 0) return from;
    high = high || meaning == Meaning::high;
  }
  return end;
}

}  // namespace dualmesh::net
