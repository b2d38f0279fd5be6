// ByteBuffer: bytes that arrive or are put together, as the body of a request. Grows by room that
// is written to next, without filling it with zeros first, which std::string would.
//
// Threads: values.
#pragma once

#include <boost/container/vector.hpp>
#include <cstddef>
#include <string>
#include <string_view>

namespace dualmesh::net {

class ByteBuffer {
 public:
  ByteBuffer() = default;
  ByteBuffer(std::string_view text) { *this += text; }
  ByteBuffer(const std::string& text) : ByteBuffer(std::string_view(text)) {}
  ByteBuffer(const char* text) : ByteBuffer(std::string_view(text)) {}

  // Never of null: who reads it may hand it to memcpy.
  operator std::string_view() const {
    return bytes_.empty() ? std::string_view("") : std::string_view(bytes_.data(), bytes_.size());
  }
  const char* data() const { return bytes_.data(); }
  std::size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool operator==(std::string_view text) const { return std::string_view(*this) == text; }

  std::size_t capacity() const { return bytes_.capacity(); }
  void reserve(std::size_t size) { bytes_.reserve(size); }
  ByteBuffer& operator+=(std::string_view piece) {
    bytes_.insert(bytes_.end(), piece.begin(), piece.end());
    return *this;
  }
  // Room for `count` more at its end, which count as its own; what of it is not written to goes by
  // cut().
  char* grow(std::size_t count) {
    bytes_.resize(bytes_.size() + count, boost::container::default_init);
    return bytes_.data() + bytes_.size() - count;
  }
  void cut(std::size_t size) { bytes_.resize(size, boost::container::default_init); }

 private:
  boost::container::vector<char> bytes_;
};

}  // namespace dualmesh::net
