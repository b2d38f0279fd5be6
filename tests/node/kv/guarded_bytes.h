// Bytes behind which memory ends: whoever reads beyond them dies, in every build.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

namespace dualmesh::node {

class GuardedBytes {
 public:
  explicit GuardedBytes(std::size_t capacity)
      : page_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))),
        size_((capacity / page_ + 1) * page_),
        memory_(static_cast<char*>(mmap(nullptr, size_ + page_, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    mprotect(memory_ + size_, page_, PROT_NONE);
  }
  ~GuardedBytes() { munmap(memory_, size_ + page_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  // The same bytes, good until the next call.
  std::string_view hold(std::string_view bytes) {
    char* const at = memory_ + size_ - bytes.size();
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    return {at, bytes.size()};
  }

 private:
  std::size_t page_, size_;
  char* memory_;
};

}  // namespace dualmesh::node
