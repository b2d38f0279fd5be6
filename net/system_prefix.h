// SystemPrefix: the beginning of a prompt's system message, as a key by which requests of one
// application are known.
//
// The key hashes the first 200 characters (UTF-8 code points) of the text added; 0: none was.
// What cannot be UTF-8 counts byte by byte.
//
// Threads: values. Source: the prefix hash that gateways in front of engine fleets use.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::net {

class SystemPrefix {
 public:
  static constexpr std::size_t kCharacters = 200;

  void add(std::string_view text) {
    if (cut_) return;
    std::size_t end = 0;
    while (end < text.size()) {
      const bool continues = (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80;
      if (!continues && characters_++ == kCharacters) {
        cut_ = true;
        break;
      }
      ++end;
    }
    text_.append(text.substr(0, end));
  }

  std::uint64_t key() const { return text_.empty() ? 0 : XXH3_64bits(text_.data(), text_.size()); }

 private:
  std::string text_;
  std::size_t characters_ = 0;
  bool cut_ = false;
};

}  // namespace dualmesh::net
