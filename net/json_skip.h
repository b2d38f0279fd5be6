// Where the runs of a JSON string end: quickly past what needs no look of its own.
//
// Blocks of 64 bytes are bits, one for each byte, by what a byte means inside a string; no branch
// depends on where escapes are, as programs have one every few bytes.
//
// Invariant: all skippers say the same of the same bytes; which is used depends on the machine.
// Threads: functions. Source: ours; that JSON is best read 64 bytes at a time is simdjson's lesson.
#pragma once

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace dualmesh::net {

// Past all that is in the minimal spelling: to a quote, a control character, an escape of another
// spelling, valid or not, one that is cut off, or the end. Sets `high` if there is a byte of 0x80
// or above before it, or soon after, and `escaped` if it passed an escape.
const char* skip_minimal(const char* from, const char* end, bool& high, bool& escaped);

// The first quote, backslash or control character; `end` if there is none. Sets `high` likewise.
const char* find_in_string(const char* from, const char* end, bool& high);

// How far the whole blocks of [from, end) are minimal.
struct JsonSkip {
  const char* at;  // where the first thing begins that is not; or what is left, with a whole escape
  bool ended;      // there is such a thing
  bool high;       // a byte of 0x80 or above in the blocks that were read
  bool escaped;    // a backslash in what was passed, or at the place where it ended
};
using JsonSkipper = JsonSkip (*)(const char* from, const char* end);
inline constexpr std::ptrdiff_t kJsonBlockBytes = 64;

// Those that this machine can run; the last is the fastest, and the first runs everywhere.
std::span<const JsonSkipper> json_skippers();

// The beginning of a string, for those that are short: names and roles.
struct JsonRun {
  static constexpr std::size_t kBytes = 16;
  std::size_t
      length;  // before the first quote, backslash or control character; kBytes: there is none
  bool high;   // a byte of 0x80 or above among these
};
inline JsonRun run_of(const char* from) {
#ifdef __SSE2__
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  const __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
  const __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
  const int stops = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control));
  const unsigned first = static_cast<unsigned>(stops) | 1U << JsonRun::kBytes;
  const unsigned before = (first & (0 - first)) - 1;
  return {static_cast<std::size_t>(std::countr_zero(first)),
          (static_cast<unsigned>(_mm_movemask_epi8(bytes)) & before) != 0};
#else
  JsonRun run{};
  for (; run.length < JsonRun::kBytes; ++run.length) {
    const auto byte = static_cast<unsigned char>(from[run.length]);
    if (byte == '"' || byte == '\\' || byte < 0x20) break;
    run.high |= byte >= 0x80;
  }
  return run;
#endif
}

// Where the next backslash is, if only few bytes without a meaning stand before it; else `at`.
inline const char* near_escape(const char* at, const char* end, bool& high) {
  if (end - at < static_cast<std::ptrdiff_t>(JsonRun::kBytes)) return at;
  const JsonRun run = run_of(at);
  if (run.length == JsonRun::kBytes || at[run.length] != '\\') return at;
  high = high || run.high;
  return at + run.length;
}

// The bytes that follow an odd run of backslashes: those escapes whose second character is none.
// `carry`, 0 or 1: whether the first byte of this block is escaped, and then of the next.
inline std::uint64_t escaped_by(std::uint64_t backslash, std::uint64_t& carry) {
  constexpr std::uint64_t even = 0x5555555555555555;
  const std::uint64_t first = carry;
  if (const std::uint64_t behind = backslash << 1 | first; (behind & backslash) == 0) {  // no runs
    carry = backslash >> 63;
    return behind;
  }
  const std::uint64_t runs = backslash & ~first;
  const std::uint64_t starts = runs & ~(runs << 1);
  // Adding the lowest bit of a run leaves one bit, right behind its end. Runs that start at an even
  // place and end before an odd one are odd, and the other way round.
  const std::uint64_t behind_even = runs + (starts & even);
  std::uint64_t behind_odd = 0;
  carry = __builtin_add_overflow(runs, starts & ~even, &behind_odd) ? 1 : 0;
  return (((behind_even & ~even) | (behind_odd & even)) & ~runs) | first;
}

}  // namespace dualmesh::net
