#include "node/access/request_id.h"

#include <algorithm>

namespace dualmesh::node {
namespace {

bool is_safe(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("._-:/+=@").find(c) != std::string_view::npos;
}

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
  for (int half = 0; half < 2; ++half) {
    std::uint64_t bits = random();
    for (int digit = 0; digit < 16; ++digit, bits >>= 4) {
      id.characters_[id.size_++] = "0123456789abcdef"[bits & 15];
    }
  }
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
