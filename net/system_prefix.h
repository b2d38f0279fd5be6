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
    if (!cut_ && size_ + text.size() <= kCharacters) {  // no more characters than bytes
      for (const char c : text) characters_ += continues(c) ? 0 : 1;
      text.copy(text_ + size_, text.size());
      size_ += text.size();
      return;
    }
    for (const char c : text) {
      if (cut_) return;
      cut_ = size_ == sizeof text_ || (!continues(c) && characters_++ == kCharacters);
      if (!cut_) text_[size_++] = c;
    }
  }

  std::uint64_t key() const { return size_ == 0 ? 0 : XXH3_64bits(text_, size_); }

 private:
  // A byte of a character that has begun.
  static bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

  char text_[kCharacters * 4];
  std::size_t size_ = 0;
  std::size_t characters_ = 0;
  bool cut_ = false;
};

}  // namespace dualmesh::net
