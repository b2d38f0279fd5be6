// HugePageArena: pieces are apart and aligned, come back, and are had elsewhere once it is full.
#include "node/kv/huge_pages.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace dualmesh::node {
namespace {

struct Piece {
  unsigned char* begin;
  std::size_t bytes;
  unsigned char filled;

  bool is_whole() const {
    return std::all_of(begin, begin + bytes, [&](unsigned char byte) { return byte == filled; });
  }
};

TEST_CASE("pieces of an arena keep what is written, also beyond what it has") {
  for (const std::size_t most_bytes : {kHugePageBytes, 16 * kHugePageBytes}) {
    CAPTURE(most_bytes);
    HugePageArena arena(most_bytes);
    const std::size_t empty = arena.allocated_bytes();
    std::mt19937_64 random(most_bytes);
    std::vector<Piece> pieces;
    const auto give_back = [&](std::size_t at) {
      CHECK(pieces[at].is_whole());
      arena.deallocate(pieces[at].begin, pieces[at].bytes, 64);
      pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(at));
    };
    for (int i = 0; i < 2000; ++i) {
      if (!pieces.empty() && random() % 3 == 0) {
        give_back(random() % pieces.size());
        continue;
      }
      const std::size_t bytes = 64 * (1 + random() % 256);
      Piece piece{static_cast<unsigned char*>(arena.allocate(bytes, 64)), bytes,
                  static_cast<unsigned char>(random())};
      CHECK(reinterpret_cast<std::uintptr_t>(piece.begin) % 64 == 0);
      std::memset(piece.begin, piece.filled, bytes);
      pieces.push_back(piece);
    }
    while (!pieces.empty()) give_back(pieces.size() - 1);
    CHECK(arena.allocated_bytes() == empty);
  }
}

TEST_CASE("large arrays begin at a huge page, small ones need not") {
  HugePageAllocator<std::uint64_t> allocator;
  const std::size_t many = kHugePageBytes / sizeof(std::uint64_t);
  for (const std::size_t count : {std::size_t{1}, many - 1, many, 3 * many + 5}) {
    std::uint64_t* const begin = allocator.allocate(count);
    begin[0] = 1;
    begin[count - 1] = 2;
    if (count >= many) CHECK(reinterpret_cast<std::uintptr_t>(begin) % kHugePageBytes == 0);
    allocator.deallocate(begin, count);
  }
}

}  // namespace
}  // namespace dualmesh::node
