// XXH3-64 of long texts with the widest vectors that this machine has: the same numbers as the
// library's, which is built for the least of machines, in a half to a quarter of the time.
//
// Threads: pure functions; the choice is made once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dualmesh::policies {

std::uint64_t wide_hash(std::string_view text, std::uint64_t seed);

// Each way of it that runs here; for tests.
using HashFunction = std::uint64_t (*)(const void* bytes, std::size_t size, std::uint64_t seed);
struct HashWays {
  HashFunction plain = nullptr;
  HashFunction avx2 = nullptr;    // null: not here
  HashFunction avx512 = nullptr;  // likewise
};
HashWays hash_ways();

}  // namespace dualmesh::policies
