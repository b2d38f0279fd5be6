// RequestId: by which a request is found again in the logs of client, router and instance.
//
// The client's `x-request-id` is kept if it is well-formed: one field of 1 to 128 letters, digits
// or characters of "._-:/+=@". Anything else is replaced by a random one of 128 bits. It goes to
// the instance, with the request over a hop, and back to the client with every answer.
//
// Threads: values; a generator belongs to one thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string_view>

#include "net/http_message.h"

namespace dualmesh::node {

inline constexpr std::string_view kRequestIdHeader = "x-request-id";

class RequestId {
 public:
  static constexpr std::size_t kMostCharacters = 128;

  RequestId() = default;  // empty
  static std::optional<RequestId> read(std::string_view text);
  static RequestId make(std::mt19937_64& random);  // 32 hexadecimal digits
  // The client's, or a new one.
  static RequestId of(const net::Headers& head, std::mt19937_64& random);

  std::string_view text() const { return {characters_.data(), size_}; }

 private:
  std::array<char, kMostCharacters> characters_{};  // in place: each request has one
  std::uint8_t size_ = 0;
};

}  // namespace dualmesh::node
