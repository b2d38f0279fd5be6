// An array's address and size in one word, so that a reader sees both of the same array.
//
// The address is that of a cache line below 2^48, which leaves 22 bits: the size as 17 bits and how
// far they are shifted. Sizes up to 131,071 are all there, greater ones to one part in 65,536, and
// none that fits in memory is too great.
//
// Invariant: packed_size(packed(address, size)) == size for each size == packable(size).
// Threads: pure functions.
#pragma once

#include <boost/assert.hpp>
#include <cstddef>
#include <cstdint>

namespace dualmesh::policies {

inline constexpr int kPackedSizeBits = 22, kMantissaBits = 17;
inline constexpr std::size_t kPackedAlignment = 64;

// The least size from `size` on that a word holds.
constexpr std::size_t packable(std::size_t size) {
  int shift = 0;
  while (((size + (std::size_t{1} << shift) - 1) >> shift) >> kMantissaBits != 0) ++shift;
  return (size + (std::size_t{1} << shift) - 1) >> shift << shift;
}

inline std::uint64_t packed(std::uintptr_t address, std::size_t size) {
  BOOST_ASSERT(address % kPackedAlignment == 0 && address >> 48 == 0);
  BOOST_ASSERT(size == packable(size));
  std::uint64_t shift = 0;
  while (size >> shift >> kMantissaBits != 0) ++shift;
  return std::uint64_t{address} / kPackedAlignment << kPackedSizeBits | shift << kMantissaBits |
         size >> shift;
}

inline std::uintptr_t packed_address(std::uint64_t word) { return word >> kPackedSizeBits << 6; }

inline std::size_t packed_size(std::uint64_t word) {
  constexpr std::uint64_t kMantissa = (std::uint64_t{1} << kMantissaBits) - 1;
  constexpr std::uint64_t kShift = (std::uint64_t{1} << (kPackedSizeBits - kMantissaBits)) - 1;
  return static_cast<std::size_t>((word & kMantissa) << (word >> kMantissaBits & kShift));
}

}  // namespace dualmesh::policies
