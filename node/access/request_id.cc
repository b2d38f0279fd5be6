#include "node/access/request_id.h"

#include <algorithm>

namespace dualmesh::node {
namespace {

bool is_safe(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("._-:/+=@").find(c) != std::string_view::npos;
}

// The two digits of each byte.
constexpr auto kDigits = [] {
  constexpr std::string_view kHexadecimal = "0123456789abcdef";
  std::array<std::array<char, 2>, 256> digits{};
  for (std::size_t byte = 0; byte < digits.size(); ++byte) {
    digits[byte] = {kHexadecimal[byte & 15], kHexadecimal[byte >> 4]};
  }
  return digits;
}();

}  // namespace

std::optional<RequestId> RequestId::read(std::string_view text) {
  if (text.empty() || text.size() > kMostCharacters || !std::ranges::all_of(text, is_safe)) {
    return std::nullopt;
  }
  RequestId id;
  std::ranges::copy(text, id.characters_.begin());
  id.size_ = static_cast<std::uint8_t>(text.size());
  return id;
}

RequestId RequestId::make(std::mt19937_64& random) {
  RequestId id;
  char* digits = id.characters_.data();
  for (int half = 0; half < 2; ++half) {
    std::uint64_t bits = random();
    for (int byte = 0; byte < 8; ++byte, bits >>= 8, digits += 2) {
      std::ranges::copy(kDigits[bits & 255], digits);
    }
  }
  id.size_ = 32;
  return id;
}

RequestId RequestId::of(const net::Headers& head, std::mt19937_64& random) {
  if (!head.has(kRequestIdHeader)) return make(random);
  std::optional<RequestId> id;
  std::size_t fields = 0;
  for (const auto& field : head) {
    if (!net::equals_ignoring_case(field.name, kRequestIdHeader)) continue;
    if (++fields == 1) id = read(field.value);
  }
  return id && fields == 1 ? *id : make(random);
}

}  // namespace dualmesh::node
