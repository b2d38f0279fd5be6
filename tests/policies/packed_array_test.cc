#include "policies/index/packed_array.h"

#include <doctest/doctest.h>

#include <vector>

using namespace dualmesh::policies;

TEST_CASE("an array of any size that memory holds goes into one word with its address") {
  const std::vector<std::uintptr_t> addresses{64, 0x7fff'dead'be00, (1ULL << 48) - 64};
  std::vector<std::size_t> sizes{0};
  for (int bits = 0; bits <= 32; ++bits) {
    const std::size_t power = std::size_t{1} << bits;
    for (const std::size_t near : {power - 1, power, power + 1, power + power / 3}) {
      sizes.push_back(near);
    }
  }
  for (const std::size_t size : sizes) {
    CAPTURE(size);
    const std::size_t whole = packable(size);
    CHECK(whole >= size);
    CHECK(whole - size <= size >> 16);
    CHECK(packable(whole) == whole);
    for (const std::uintptr_t address : addresses) {
      const std::uint64_t word = packed(address, whole);
      CHECK(packed_size(word) == whole);
      CHECK(packed_address(word) == address);
    }
  }
}
