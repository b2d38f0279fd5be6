// Bodies: chunked ones cut at every place, by length, until the end of the connection.
#include "net/chunked_body.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

using namespace dualmesh::net;

namespace {

struct Chunks {
  Decoded verdict = Decoded::need_more;
  std::string payload;
  std::size_t used = 0;
  bool operator==(const Chunks&) const = default;
};

Chunks decode(const std::string& bytes, std::mt19937& random, std::size_t longest) {
  ChunkedBody body;
  Chunks result;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = std::min(bytes.size() - at, 1 + random() % longest);
    std::string_view input = std::string_view(bytes).substr(at, size);
    std::string_view piece;
    at += size;
    while ((result.verdict = body.decode(input, piece)) == Decoded::piece) result.payload += piece;
    if (result.verdict != Decoded::need_more) {
      result.used = result.verdict == Decoded::done ? at - input.size() : 0;
      return result;
    }
  }
  return result;
}

Chunks decode_every_way(const std::string& bytes) {
  CAPTURE(bytes);
  std::mt19937 random(3);
  const Chunks by_bytes = decode(bytes, random, 1);
  for (std::size_t longest : {2u, 5u, 20u, 100000u}) {
    for (int round = 0; round < 10; ++round) CHECK(decode(bytes, random, longest) == by_bytes);
  }
  return by_bytes;
}

}  // namespace

TEST_CASE("chunked bodies that are accepted") {
  const std::pair<std::string, std::string> cases[] = {
      {"0\r\n\r\n", ""},
      {"3\r\nabc\r\n0\r\n\r\n", "abc"},
      {"a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789"},
      {"0000000000000001\r\nx\r\n0\r\n\r\n", "x"},
      {"1;ext=\"v\";y\r\nx\r\n0;z\r\n\r\n", "x"},
      {"2\r\n\r\n\r\n0\r\nTrailer: v\r\nother: w\r\n\r\n", "\r\n"},
  };
  for (const auto& [bytes, payload] : cases) {
    const Chunks result = decode_every_way(bytes + "GET /next");
    CHECK(result.verdict == Decoded::done);
    CHECK(result.payload == payload);
    CHECK(result.used == bytes.size());
  }
}

TEST_CASE("chunked bodies that are refused") {
  const std::string nul(1, '\0');
  for (const std::string& bytes : {
           std::string("\r\n"),
           std::string("g\r\n"),
           std::string("-1\r\n"),
           std::string("+1\r\nx\r\n"),
           std::string("0x1\r\nx\r\n"),
           std::string("1 \r\nx\r\n"),
           std::string(" 1\r\nx\r\n"),
           std::string("1\t;a\r\nx\r\n"),
           std::string("0_2e\r\n"),
           std::string("1\nx\n"),
           std::string("1\r\nxy\r\n"),
           std::string("1\r\nx\n"),
           std::string("1\r\nx\r0"),
           std::string("1\r\nx0\r\n"),
           std::string("1;a\nx\r\n"),
           std::string("1;a\rb\r\nx\r\n"),
           "1;" + nul + "\r\n",
           std::string("00000000000000001\r\nx"),
           std::string("ffffffffffffffff0\r\n"),
           std::string("1\r\rx"),
           std::string("0\r\n\n"),
           std::string("0\r\nbad trailer: x\r\n\r\n"),
           std::string("0\r\n folded: x\r\n\r\n"),
           std::string("0\r\nx: y\n\r\n"),
           std::string("0\r\nnocolon\r\n\r\n"),
           "1;" + std::string(9000, 'e') + "\r\n",
           "0\r\nx: " + std::string(9000, 't') + "\r\n\r\n",
       }) {
    CHECK(decode_every_way(bytes).verdict == Decoded::failed);
  }
}

TEST_CASE("bodies by length and until the end") {
  std::string_view input = "abcdef", piece;
  BodyReader by_length(BodyFraming{BodyFraming::Kind::length, 4});
  REQUIRE(by_length.decode(input, piece) == Decoded::piece);
  CHECK(piece == "abcd");
  CHECK(by_length.decode(input, piece) == Decoded::done);
  CHECK(input == "ef");
  BodyReader until_close(BodyFraming{BodyFraming::Kind::until_close, 0});
  REQUIRE(until_close.decode(input, piece) == Decoded::piece);
  CHECK(piece == "ef");
  CHECK(until_close.decode(input, piece) == Decoded::need_more);
  CHECK(until_close.ends_with_connection());
  CHECK(BodyReader().decode(input, piece) == Decoded::done);
}
