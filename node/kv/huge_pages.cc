#include "node/kv/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <boost/interprocess/indexes/null_index.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/mem_algo/rbtree_best_fit.hpp>

namespace dualmesh::node {

namespace {

// Best fit with neighbours joined when they are free; smallest alignment is a cache line.
constexpr std::size_t kCacheLineBytes = 64;
using Pieces = boost::interprocess::basic_managed_external_buffer<
    char,
    boost::interprocess::rbtree_best_fit<boost::interprocess::null_mutex_family,
                                         boost::interprocess::offset_ptr<void>>,
    boost::interprocess::null_index>;

}  // namespace

void advise_huge_pages(void* begin, std::size_t bytes) {
  madvise(begin, bytes / kHugePageBytes * kHugePageBytes, MADV_HUGEPAGE);
}

struct HugePageArena::Stretch {
  void* mapped;  // all of it
  std::size_t mapped_bytes;
  char* begin;  // where a huge page begins
  std::size_t bytes;
  Pieces pieces;

  bool has(const void* piece) const { return piece >= begin && piece < begin + bytes; }
};

HugePageArena::HugePageArena(std::size_t most_bytes) {
  const std::size_t bytes = (most_bytes / kHugePageBytes + 1) * kHugePageBytes;
  const std::size_t mapped_bytes = bytes + kHugePageBytes;
  void* const mapped = mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return;
  void* begin = mapped;
  std::size_t space = mapped_bytes;
  std::align(kHugePageBytes, bytes, begin, space);
  advise_huge_pages(begin, bytes);
  stretch_.reset(new Stretch{mapped, mapped_bytes, static_cast<char*>(begin), bytes,
                             Pieces(boost::interprocess::create_only, begin, bytes)});
}

HugePageArena::~HugePageArena() {
  if (stretch_ != nullptr) munmap(stretch_->mapped, stretch_->mapped_bytes);
}

std::size_t HugePageArena::allocated_bytes() const {
  return stretch_ == nullptr ? 0 : stretch_->bytes - stretch_->pieces.get_free_memory();
}

void* HugePageArena::do_allocate(std::size_t bytes, std::size_t alignment) {
  void* piece = nullptr;
  if (stretch_ != nullptr) {
    piece = stretch_->pieces.allocate_aligned(bytes, std::max(alignment, kCacheLineBytes),
                                              std::nothrow);
  }
  return piece != nullptr ? piece : ::operator new (bytes, std::align_val_t{alignment});
}

void HugePageArena::do_deallocate(void* piece, std::size_t, std::size_t alignment) {
  if (stretch_ != nullptr && stretch_->has(piece)) return stretch_->pieces.deallocate(piece);
  ::operator delete (piece, std::align_val_t{alignment});
}

}  // namespace dualmesh::node
