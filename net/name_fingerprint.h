// A number for the name of a header field, whatever its case, made of the name's ends and size:
// names that are equal have equal ones, and most others do not. Whoever finds two alike compares
// them.
//
// Threads: pure functions.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace dualmesh::net {

static_assert(std::endian::native == std::endian::little, "compile time and run time must agree");

// The first eight, or four, bytes from `from` on as one number.
template <class Word>
constexpr std::uint64_t load(const char* from) {
  if (!std::is_constant_evaluated()) {
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < sizeof(Word); ++i) {
    word |= std::uint64_t{static_cast<unsigned char>(from[i])} << (8 * i);
  }
  return word;
}

// All of fewer than nine bytes; for one size each always lies in the same place.
constexpr std::uint64_t load_short(const char* from, std::size_t bytes) {
  if (bytes >= 4) return load<std::uint32_t>(from) | load<std::uint32_t>(from + bytes - 4) << 32;
  if (bytes == 0) return 0;
  return load<std::uint8_t>(from) | load<std::uint8_t>(from + bytes / 2) << 8 |
         load<std::uint8_t>(from + bytes - 1) << 16;
}

// False: two texts of one size differ by more than the case of letters. By their first bytes.
inline bool may_be_one_name(std::string_view a, std::string_view b) {
  constexpr std::uint64_t small = 0x2020202020202020;
  return a.size() < 8 ||
         (load<std::uint64_t>(a.data()) | small) == (load<std::uint64_t>(b.data()) | small);
}

constexpr std::uint32_t name_fingerprint(std::string_view name) {
  constexpr std::uint64_t small = 0x2020202020202020;
  const bool is_long = name.size() >= 8;
  const std::uint64_t front =
      is_long ? load<std::uint64_t>(name.data()) : load_short(name.data(), name.size());
  const std::uint64_t back = is_long ? load<std::uint64_t>(name.data() + name.size() - 8) : 0;
  const std::uint64_t mixed = ((front | small) ^ (back | small) << 7) + name.size();
  return static_cast<std::uint32_t>(mixed * 0x9E3779B97F4A7C15 >> 32);
}

// Its bit in a word of bits: what has another bit is another name.
constexpr std::uint64_t fingerprint_bit(std::uint32_t fingerprint) {
  return std::uint64_t{1} << (fingerprint & 63);
}

}  // namespace dualmesh::net
