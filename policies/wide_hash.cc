#include "policies/wide_hash.h"

#include <xxhash.h>

namespace dualmesh::policies {

#ifdef DUALMESH_WIDE_HASH
std::uint64_t hash_avx2(const void* bytes, std::size_t size, std::uint64_t seed);
std::uint64_t hash_avx512(const void* bytes, std::size_t size, std::uint64_t seed);
#endif

namespace {

std::uint64_t hash_plain(const void* bytes, std::size_t size, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes, size, seed);
}

HashFunction best_way() {
  const HashWays ways = hash_ways();
  return ways.avx512 ? ways.avx512 : ways.avx2 ? ways.avx2 : ways.plain;
}

}  // namespace

HashWays hash_ways() {
  HashWays ways;
  ways.plain = hash_plain;
#ifdef DUALMESH_WIDE_HASH
  if (__builtin_cpu_supports("avx2")) ways.avx2 = hash_avx2;
  // Machines before it had AVX-512 slow down where they use it.
  if (__builtin_cpu_supports("avx512vbmi2")) ways.avx512 = hash_avx512;
#endif
  return ways;
}

std::uint64_t wide_hash(std::string_view text, std::uint64_t seed) {
  static const HashFunction best = best_way();
  constexpr std::size_t worth_bytes = 256;  // below, vectors are not used at all
  return text.size() < worth_bytes ? hash_plain(text.data(), text.size(), seed)
                                   : best(text.data(), text.size(), seed);
}

}  // namespace dualmesh::policies
