// One number for one text on every machine: nodes of a mesh compare keys that others have made.
#include "policies/wide_hash.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace dualmesh::policies;

TEST_CASE("every way of it gives the library's number, whatever the size and place") {
  const HashWays ways = hash_ways();
  MESSAGE("AVX2: ", ways.avx2 != nullptr, ", AVX-512: ", ways.avx512 != nullptr);
  std::mt19937_64 random(11);
  std::string text(70'000, '\0');
  for (char& c : text) c = static_cast<char>(random());
  for (int i = 0; i < 4'000; ++i) {
    const std::size_t size = i < 2'000 ? static_cast<std::size_t>(i) : random() % 60'000;
    const std::size_t at = random() % 64;
    const std::uint64_t seed = i % 3 == 0 ? 0 : random();
    const std::uint64_t number = ways.plain(text.data() + at, size, seed);
    CAPTURE(size);
    CAPTURE(seed);
    CHECK(wide_hash(std::string_view(text).substr(at, size), seed) == number);
    if (ways.avx2) CHECK(ways.avx2(text.data() + at, size, seed) == number);
    if (ways.avx512) CHECK(ways.avx512(text.data() + at, size, seed) == number);
  }
}
