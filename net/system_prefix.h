// SystemPrefix: the beginning of a prompt's system message, as a key by which requests of one
// application are known.
//
// The key hashes the first 200 characters (UTF-8 code points) of the text added; 0: none was.
// The same text in other pieces has the same key. What is added must be UTF-8 for the key to count.
//
// Threads: values. Source: the prefix hash that gateways in front of engine fleets use.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dualmesh::net {

class SystemPrefix {
 public:
  static constexpr std::size_t kCharacters = 200;

  bool is_full() const { return cut_; }
  void add(std::string_view text) {
    if (cut_) return;
    const std::size_t taken = text.copy(text_ + size_, sizeof text_ - size_);
    size_ += taken;
    if (size_ <= kCharacters) return;  // no more characters than bytes
    for (; counted_ < size_; ++counted_) {
      const bool continues = (static_cast<unsigned char>(text_[counted_]) & 0xc0) == 0x80;
      if (continues || characters_++ < kCharacters) continue;
      size_ = counted_;
      cut_ = true;
      return;
    }
    cut_ = taken < text.size();
  }

  std::uint64_t key() const { return size_ == 0 ? 0 : XXH3_64bits(text_, size_); }

 private:
  char text_[kCharacters * 4];
  std::size_t size_ = 0;
  std::size_t counted_ = 0;     // of these bytes
  std::size_t characters_ = 0;  // in them
  bool cut_ = false;
};

}  // namespace dualmesh::net
