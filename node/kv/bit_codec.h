// Numbers of any number of bits to bytes and back, the lowest bit first; and Rice codes.
//
// Invariant: as of byte_codec.h: a reader never goes beyond its bytes, and what it reads has one
// form: the bits left over in the last byte are 0.
// Threads: none.
// Source: Rice, "Some Practical Universal Noiseless Coding Techniques", 1979.
#pragma once

#include "node/kv/byte_codec.h"

namespace dualmesh::node {

class BitWriter {
 public:
  explicit BitWriter(ByteWriter& out) : out_(out) {}

  void bits(std::uint64_t value, unsigned count) {
    for (unsigned i = 0; i < count; ++i) bit((value >> i & 1) != 0);
  }
  // `low` bits as they are, the rest as so many ones and a zero.
  void rice(std::uint64_t value, unsigned low) {
    for (std::uint64_t ones = value >> low; ones > 0; --ones) bit(true);
    bit(false);
    bits(value, low);
  }
  void finish() {
    while (used_ > 0) bit(false);
  }

 private:
  void bit(bool set) {
    byte_ = static_cast<std::uint8_t>(byte_ | (set ? 1U : 0U) << used_);
    if (++used_ < 8) return;
    out_.byte(byte_);
    byte_ = 0;
    used_ = 0;
  }

  ByteWriter& out_;
  std::uint8_t byte_ = 0;
  unsigned used_ = 0;
};

class BitReader {
 public:
  explicit BitReader(ByteReader& in) : in_(in) {}

  std::uint64_t bits(unsigned count) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) value |= std::uint64_t{bit()} << i;
    return value;
  }
  // `most`: of the whole value; beyond it the bytes are refused.
  std::uint64_t rice(unsigned low, std::uint64_t most) {
    std::uint64_t ones = 0;
    while (bit()) {
      if (++ones <= most >> low) continue;
      in_.fail();
      return 0;
    }
    const std::uint64_t value = ones << low | bits(low);
    if (value > most) in_.fail();
    return in_.ok() ? value : 0;
  }
  void finish() {
    while (left_ > 0) {
      if (bit()) in_.fail();
    }
  }

 private:
  bool bit() {
    if (left_ == 0) {
      byte_ = in_.byte();
      left_ = 8;
    }
    const bool set = (byte_ & 1) != 0;
    byte_ = static_cast<std::uint8_t>(byte_ >> 1);
    --left_;
    return set && in_.ok();
  }

  ByteReader& in_;
  std::uint8_t byte_ = 0;
  unsigned left_ = 0;
};

}  // namespace dualmesh::node
