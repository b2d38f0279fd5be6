// MsgpackWriter: appends msgpack values, each in its shortest form.
//
// Invariant: what is announced (array, map) must follow; nothing checks that.
// Threads: none; a value. Source: the msgpack specification.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::node {

class MsgpackWriter {
 public:
  void nil() { byte(0xc0); }
  void real(double value) { tagged(0xcb, std::bit_cast<std::uint64_t>(value), 8); }
  void number(std::uint64_t value) {
    if (value < 0x80) return byte(static_cast<std::uint8_t>(value));
    if (value <= UINT8_MAX) return tagged(0xcc, value, 1);
    if (value <= UINT16_MAX) return tagged(0xcd, value, 2);
    if (value <= UINT32_MAX) return tagged(0xce, value, 4);
    tagged(0xcf, value, 8);
  }
  void signed_number(std::int64_t value) {
    if (value >= 0) return number(static_cast<std::uint64_t>(value));
    const auto bits = static_cast<std::uint64_t>(value);
    if (value >= -32) return byte(static_cast<std::uint8_t>(bits));
    if (value >= INT8_MIN) return tagged(0xd0, bits, 1);
    if (value >= INT16_MIN) return tagged(0xd1, bits, 2);
    if (value >= INT32_MIN) return tagged(0xd2, bits, 4);
    tagged(0xd3, bits, 8);
  }
  void text(std::string_view value) {
    if (value.size() < 32) {
      byte(static_cast<std::uint8_t>(0xa0 | value.size()));
    } else {
      sized(value.size(), 0xd9, 0xda, 0xdb);
    }
    out_ += value;
  }
  void bytes(std::string_view value) {
    sized(value.size(), 0xc4, 0xc5, 0xc6);
    out_ += value;
  }
  void array(std::size_t count) { container(count, 0x90, 0xdc, 0xdd); }
  void map(std::size_t pairs) { container(pairs, 0x80, 0xde, 0xdf); }

  std::string take() { return std::move(out_); }

 private:
  void byte(std::uint8_t value) { out_ += static_cast<char>(value); }
  void big_endian(std::uint64_t value, int length) {
    for (int shift = 8 * (length - 1); shift >= 0; shift -= 8) {
      byte(static_cast<std::uint8_t>(value >> shift));
    }
  }
  void tagged(std::uint8_t tag, std::uint64_t value, int length) {
    byte(tag);
    big_endian(value, length);
  }
  void sized(std::size_t size, std::uint8_t tag8, std::uint8_t tag16, std::uint8_t tag32) {
    if (size <= UINT8_MAX) return tagged(tag8, size, 1);
    if (size <= UINT16_MAX) return tagged(tag16, size, 2);
    tagged(tag32, size, 4);
  }
  void container(std::size_t count, std::uint8_t fixed, std::uint8_t tag16, std::uint8_t tag32) {
    if (count < 16) return byte(static_cast<std::uint8_t>(fixed | count));
    if (count <= UINT16_MAX) return tagged(tag16, count, 2);
    tagged(tag32, count, 4);
  }

  std::string out_;
};

}  // namespace dualmesh::node
