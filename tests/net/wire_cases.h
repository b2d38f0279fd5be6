// The table of framing and smuggling cases in tests/net/wire_cases (its README.md has the form),
// read into values; and what our parsers make of bytes, told in the words of that table.
//
// Threads: values.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualmesh::net::testing {

// One line of a verdict: a request as "METHOD target body", or a status, "waits", "closes", ...
struct Outcome {
  std::string text;
  std::vector<std::pair<std::string, std::string>> has = {};  // fields of the request
  std::vector<std::string> lacks = {};

  bool is_request() const { return text.find(' ') != std::string::npos && text != "not TLS"; }
};

struct WireCase {
  std::string file, name, bytes;
  std::vector<Outcome> outcomes;

  bool ends_with(std::string_view text) const {
    return !outcomes.empty() && outcomes.back().text == text;
  }
  bool is_refused() const;
};

// Every case of every file, in order. Stops the test where one is malformed.
std::vector<WireCase> read_wire_cases();

// What RequestParser and BodyReader make of `bytes`, fed up to each of `cuts` in turn: the texts of
// the outcomes in order. Limits are those of a server by default.
std::vector<std::string> our_reading(std::string_view bytes, const std::vector<std::size_t>& cuts);

}  // namespace dualmesh::net::testing
