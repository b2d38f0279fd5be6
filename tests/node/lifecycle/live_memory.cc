#include "tests/node/lifecycle/live_memory.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DUALMESH_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define DUALMESH_SANITIZED 1
#endif
#endif

namespace dualmesh::node::testing {
namespace {

std::atomic<std::int64_t> blocks{0};

}  // namespace

std::int64_t live_blocks() { return blocks.load(); }

#ifndef DUALMESH_SANITIZED
namespace {

void* taken(void* block) {
  if (block == nullptr) throw std::bad_alloc();
  blocks.fetch_add(1, std::memory_order_relaxed);
  return block;
}

void given_back(void* block) {
  if (block == nullptr) return;
  blocks.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

std::size_t rounded(std::size_t size, std::size_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

}  // namespace
#endif

}  // namespace dualmesh::node::testing

#ifndef DUALMESH_SANITIZED
using namespace dualmesh::node::testing;

void* operator new(std::size_t size) { return taken(std::malloc(size > 0 ? size : 1)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto by = static_cast<std::size_t>(alignment);
  return taken(std::aligned_alloc(by, rounded(size, by)));
}
void operator delete(void* block) noexcept { given_back(block); }
void operator delete(void* block, std::size_t) noexcept { given_back(block); }
void operator delete(void* block, std::align_val_t) noexcept { given_back(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { given_back(block); }
#endif
