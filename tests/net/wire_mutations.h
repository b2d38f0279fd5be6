// Cases of the wire, changed by chance: what lies near a known trick is where parsers differ.
//
// Threads: values; the random source is the caller's.
#pragma once

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace dualmesh::net::testing {

class WireMutations {
 public:
  WireMutations(std::vector<std::string> seeds, std::uint32_t seed)
      : seeds_(std::move(seeds)), random_(seed) {}

  std::string next() {
    std::string bytes = seeds_[below(seeds_.size())];
    for (std::size_t changes = 1 + below(3); changes > 0; --changes) change(bytes);
    return bytes;
  }

 private:
  static constexpr std::array<std::string_view, 34> kPieces{"\r\n",
                                                            "\n",
                                                            "\r",
                                                            " ",
                                                            "\t",
                                                            ":",
                                                            ";",
                                                            ",",
                                                            "0",
                                                            "1",
                                                            "f",
                                                            "\x0b",
                                                            "\x7f",
                                                            "\xa0",
                                                            "\"",
                                                            "_",
                                                            "%2e",
                                                            "/",
                                                            "?",
                                                            "#",
                                                            "Content-Length: 3\r\n",
                                                            "Content-Length: 0\r\n",
                                                            "Transfer-Encoding: chunked\r\n",
                                                            "Connection: close\r\n",
                                                            "Connection: Host\r\n",
                                                            "Expect: 100-continue\r\n",
                                                            "Host: a\r\n",
                                                            "X: y\r\n",
                                                            "HTTP/1.0",
                                                            "HTTP/1.1",
                                                            "0\r\n\r\n",
                                                            "3\r\nabc\r\n",
                                                            "GET /v1/y HTTP/1.1\r\nHost: a\r\n\r\n",
                                                            "Upgrade: x\r\n"};

  std::size_t below(std::size_t bound) { return random_() % bound; }

  // A place in `bytes`, every second time at the beginning of a line.
  std::size_t place(const std::string& bytes) {
    const std::size_t at = below(bytes.size() + 1);
    if (below(2) == 0) return at;
    const std::size_t line = bytes.find('\n', at);
    return line == std::string::npos ? at : line + 1;
  }

  void change(std::string& bytes) {
    const std::size_t at = place(bytes);
    switch (below(6)) {
      case 0:
      case 1:
        bytes.insert(at, kPieces[below(kPieces.size())]);
        return;
      case 2:
        bytes.erase(at, 1 + below(4));
        return;
      case 3:
        if (at < bytes.size()) bytes[at] = static_cast<char>(random_());
        return;
      case 4:
        bytes.insert(at, bytes.substr(below(bytes.size() + 1), below(40)));
        return;
      default:
        bytes = bytes.substr(0, at) + seeds_[below(seeds_.size())];
    }
  }

  std::vector<std::string> seeds_;
  std::mt19937 random_;
};

}  // namespace dualmesh::net::testing
