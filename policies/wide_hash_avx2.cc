// wide_hash.h, compiled for machines with AVX2; called on no other.
#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

#include <cstddef>
#include <cstdint>

namespace dualmesh::policies {

std::uint64_t hash_avx2(const void* bytes, std::size_t size, std::uint64_t seed) {
  const std::uint64_t hash = XXH3_64bits_withSeed(bytes, size, seed);
  __builtin_ia32_vzeroupper();  // g++ 12 forgets it: all SSE code after it would pay
  return hash;
}

}  // namespace dualmesh::policies
