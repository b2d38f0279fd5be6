// Numbers to bytes and back: varints and little endian, for messages between nodes.
//
// Invariant: a reader never goes beyond its bytes; after the first failure all it says is 0 and
// ok() is false. A varint has one form: no number is written longer than needed.
// Threads: none.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace dualmesh::node {

static_assert(std::endian::native == std::endian::little);

class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  void byte(std::uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) byte(static_cast<std::uint8_t>(value | 0x80));
    byte(static_cast<std::uint8_t>(value));
  }
  void fixed(std::uint64_t value, std::size_t bytes) {
    char raw[8];
    std::memcpy(raw, &value, 8);
    out_.append(raw, bytes);
  }

 private:
  std::string& out_;
};

// The greatest step and epoch (the year 2255) that are ever believed. What follows them, and the
// batches and lives of an engine that come after, are still far from 2^64, where a number would be
// 0.
inline constexpr std::uint64_t kMostPlace = std::uint64_t{1} << 62;
inline constexpr std::uint64_t kMostEpoch = std::uint64_t{1} << 53;

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes, std::uint64_t most_epoch = kMostEpoch)
      : bytes_(bytes), most_epoch_(most_epoch) {}

  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }
  std::size_t left() const { return bytes_.size(); }
  void fail() { ok_ = false, bytes_ = {}; }

  std::uint8_t byte() { return static_cast<std::uint8_t>(fixed(1)); }
  std::uint64_t fixed(std::size_t bytes) {
    if (bytes_.size() < bytes) {
      fail();
      return 0;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, bytes_.data(), bytes);
    bytes_.remove_prefix(bytes);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = byte();
      value |= std::uint64_t{next & 0x7fU} << shift;
      if (shift == 63 && next > 1) break;
      if ((next & 0x80) != 0) continue;
      if (next == 0 && shift > 0) break;  // longer than needed
      return value;
    }
    fail();
    return 0;
  }
  // A step and an epoch of a stream. One that is absurd can be read, and so can what follows it;
  // its entry is to be left out.
  std::uint64_t place() { return place(0, varint()); }
  std::uint64_t place(std::uint64_t before, std::uint64_t steps) {
    if (steps <= kMostPlace && before <= kMostPlace - steps) return before + steps;
    absurd_ = true;
    return kMostPlace;
  }
  std::uint64_t epoch() {
    const std::uint64_t value = varint();
    absurd_ = absurd_ || value > most_epoch_;
    return value;
  }
  bool absurd() const { return absurd_; }  // something in this entry was
  // Ends an entry: is it to be left out?
  bool refuses_entry() {
    if (!std::exchange(absurd_, false)) return false;
    ++refused_;
    return true;
  }
  std::size_t refused() const { return refused_; }
  // How many things follow of which each takes `least_bytes` (> 0) or more.
  std::size_t count(std::size_t least_bytes) {
    const std::uint64_t many = varint();
    if (many > left() / least_bytes) fail();
    return ok_ ? static_cast<std::size_t>(many) : 0;
  }

 private:
  std::string_view bytes_;
  std::uint64_t most_epoch_;
  bool ok_ = true, absurd_ = false;
  std::size_t refused_ = 0;
};

}  // namespace dualmesh::node
