// NameTable: names known when the program is built, found with one comparison: each has a slot of
// its own by its length and its first and last characters.
//
// Threads: constants. Source: perfect hashing, the multiplier found by trying.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dualmesh::net {

template <std::size_t kCount>
class NameTable {
 public:
  // Does not compile for names that only differ within.
  consteval explicit NameTable(const std::array<std::string_view, kCount>& names) : names_(names) {
    while (!fill()) multiplier_ += 2;
  }

  // Its place among the names; kCount: none of them.
  std::size_t find(std::string_view name) const {
    if (name.empty()) return kCount;
    const std::size_t place = slots_[slot(name)];
    return place < kCount && names_[place] == name ? place : kCount;
  }
  constexpr std::string_view operator[](std::size_t place) const { return names_[place]; }

 private:
  static constexpr unsigned kBits = std::bit_width(4 * kCount);
  static_assert(kCount < 255);

  constexpr std::size_t slot(std::string_view name) const {
    const auto byte = [](char c) { return std::uint32_t{static_cast<unsigned char>(c)}; };
    const auto size = static_cast<std::uint32_t>(name.size());
    const std::uint32_t key = size | byte(name.front()) << 24 | byte(name.back()) << 16;
    return key * multiplier_ >> (32 - kBits);
  }
  constexpr bool fill() {
    slots_.fill(kCount);
    for (std::size_t i = 0; i < kCount; ++i) {
      std::uint8_t& place = slots_[slot(names_[i])];
      if (place != kCount) return false;
      place = static_cast<std::uint8_t>(i);
    }
    return true;
  }

  std::array<std::string_view, kCount> names_;
  std::uint32_t multiplier_ = 0x9E3779B1;
  std::array<std::uint8_t, std::size_t{1} << kBits> slots_{};
};
template <std::size_t kCount>
NameTable(const std::array<std::string_view, kCount>&) -> NameTable<kCount>;

}  // namespace dualmesh::net
