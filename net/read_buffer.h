// The bytes received on one connection and not yet used.
//
// Room for a read is made only by prepare(), so views into data() stay good until the next
// prepare(). Invariant: size() <= what the owner let in; an emptied buffer gives large storage
// back. Threads: values.
#pragma once

#include <cstring>
#include <memory>
#include <string_view>

namespace dualmesh::net {

class ReadBuffer {
 public:
  std::string_view data() const { return {bytes_.get() + begin_, end_ - begin_}; }
  std::size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }

  // Storage for up to `wanted` further bytes.
  char* prepare(std::size_t wanted) {
    if (empty()) begin_ = end_ = 0;
    if (empty() && capacity_ > wanted && capacity_ > small) capacity_ = 0;  // give it back
    if (capacity_ - end_ < wanted) {
      const std::size_t used = size();
      const std::size_t capacity = used + wanted;
      if (capacity_ < capacity) {
        auto larger = std::make_unique_for_overwrite<char[]>(capacity);
        if (used > 0) std::memcpy(larger.get(), bytes_.get() + begin_, used);
        bytes_ = std::move(larger);
        capacity_ = capacity;
      } else {
        std::memmove(bytes_.get(), bytes_.get() + begin_, used);
      }
      begin_ = 0;
      end_ = used;
    }
    return bytes_.get() + end_;
  }
  void commit(std::size_t received) { end_ += received; }
  void consume(std::size_t used) { begin_ += used; }

 private:
  static constexpr std::size_t small = 16 * 1024;
  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace dualmesh::net
