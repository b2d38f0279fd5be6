#include "tests/net/wire_cases.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "net/chunked_body.h"
#include "net/http_server.h"

namespace dualmesh::net::testing {
namespace {

// Takes one character, which may be written as an escape.
char take_character(std::string_view& text) {
  const char first = text.front();
  text.remove_prefix(1);
  if (first != '\\') return first;
  REQUIRE(!text.empty());
  const char kind = text.front();
  text.remove_prefix(1);
  if (kind == 'x') {
    REQUIRE(text.size() >= 2);
    const int value = hex_digit(text[0]) * 16 + hex_digit(text[1]);
    text.remove_prefix(2);
    return static_cast<char>(value);
  }
  static const std::map<char, char> kKnown{
      {'r', '\r'}, {'n', '\n'}, {'t', '\t'}, {'0', '\0'}, {'\\', '\\'}};
  REQUIRE(kKnown.contains(kind));
  return kKnown.at(kind);
}

std::string unescaped(std::string_view text) {
  std::string bytes;
  while (!text.empty()) bytes += take_character(text);
  return bytes;
}

// What stands between < and >: a name, or a number, an asterisk and text.
std::string expanded(const std::string& inside) {
  static const std::map<std::string, std::string> kNames{
      {"post", "POST /v1/x HTTP/1.1\r\nHost: a\r\n"},
      {"head", "GET /v1/x HTTP/1.1\r\nHost: a\r\n"},
      {"get", "GET /v1/y HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"chunked", "Transfer-Encoding: chunked\r\n\r\n"}};
  if (kNames.contains(inside)) return kNames.at(inside);
  const std::size_t asterisk = inside.find('*');
  REQUIRE(asterisk != std::string::npos);
  const std::string piece = unescaped(inside.substr(asterisk + 1));
  std::string bytes;
  for (int left = std::stoi(inside.substr(0, asterisk)); left > 0; --left) bytes += piece;
  return bytes;
}

std::string wire_bytes(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    if (text.front() != '<') {
      bytes += take_character(text);
      continue;
    }
    const std::size_t end = text.find('>');
    REQUIRE(end != std::string_view::npos);
    bytes += expanded(std::string(text.substr(1, end - 1)));
    text.remove_prefix(end + 1);
  }
  return bytes;
}

void take_line(const std::string& file, const std::string& line, std::vector<WireCase>& cases) {
  INFO(file << ": " << line);
  if (line.empty() || line.starts_with("#")) return;
  if (line.starts_with("case ")) {
    const std::size_t source = line.find("  [");
    REQUIRE(source != std::string::npos);
    cases.push_back({file, line.substr(5, source - 5), {}, {}});
    return;
  }
  REQUIRE(line.size() > 2);
  const std::string rest = line.substr(2);
  WireCase& current = cases.back();
  switch (line.front()) {
    case '>':
      current.bytes += wire_bytes(rest);
      return;
    case '=':
      current.outcomes.push_back({unescaped(rest)});
      return;
    case '+': {
      const std::size_t colon = rest.find(": ");
      REQUIRE(colon != std::string::npos);
      current.outcomes.back().has.emplace_back(rest.substr(0, colon),
                                               unescaped(rest.substr(colon + 2)));
      return;
    }
    case '-':
      current.outcomes.back().lacks.push_back(rest);
      return;
    default:
      FAIL("a line that begins with none of case, >, =, +, -");
  }
}

// As ServerConnection does it, without a socket.
class Reading {
 public:
  std::vector<std::string> outcomes;

  void feed(std::string_view piece) {
    buffer_ += piece;
    while (!over_ && (in_body_ ? body() : head())) {
    }
  }
  void finish() {
    if (over_) return;
    if (in_body_ && expects_ && buffer_.empty() && request_.body.empty()) {
      outcomes.emplace_back("100");
    }
    if (in_body_ || buffer_.size() > 0) outcomes.emplace_back("waits");
  }

 private:
  bool head() {
    if (buffer_.empty()) return false;
    switch (parser_.parse(buffer_, request_)) {
      case Parsed::need_more:
        return false;
      case Parsed::failed:
        return end(std::to_string(parser_.error_status()));
      case Parsed::complete:
        break;
    }
    buffer_.erase(0, parser_.head_size());
    body_ = BodyReader(parser_.framing());
    if (parser_.framing().length > limits_.body_bytes) return end("413");
    expects_ = parser_.expects_continue();
    return in_body_ = true;
  }
  bool body() {
    std::string_view input = buffer_, piece;
    const Decoded step = body_.decode(input, piece);
    request_.body += piece;
    buffer_.erase(0, buffer_.size() - input.size());
    if (step == Decoded::failed) return end("400");
    if (body_.promised_bytes() > limits_.body_bytes - request_.body.size()) return end("413");
    if (step == Decoded::done) complete();
    return step != Decoded::need_more;
  }
  void complete() {
    outcomes.push_back(request_.method + " " + request_.target +
                       (request_.body.empty() ? "" : " " + std::string(request_.body)));
    const bool goes_on = parser_.keep_alive();
    in_body_ = false;
    request_ = {};
    parser_ = RequestParser(HeadLimits{});
    if (!goes_on) end("closes");
  }
  bool end(std::string how) {
    outcomes.push_back(std::move(how));
    over_ = true;
    return false;
  }

  ServerLimits limits_;
  std::string buffer_;
  HttpRequest request_;
  RequestParser parser_{HeadLimits{}};
  BodyReader body_;
  bool in_body_ = false, expects_ = false, over_ = false;
};

}  // namespace

bool WireCase::is_refused() const {
  return !outcomes.empty() && outcomes.back().text.size() == 3 && !ends_with("100");
}

std::vector<WireCase> read_wire_cases() {
  const std::filesystem::path folder =
      std::filesystem::path(DUALMESH_SOURCE) / "tests/net/wire_cases";
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::vector<WireCase> cases;
  for (const auto& file : files) {
    std::ifstream lines(file);
    for (std::string line; std::getline(lines, line);) {
      take_line(file.stem().string(), line, cases);
    }
  }
  return cases;
}

std::vector<std::string> our_reading(std::string_view bytes, const std::vector<std::size_t>& cuts) {
  Reading reading;
  std::size_t from = 0;
  for (const std::size_t to : cuts) {
    reading.feed(bytes.substr(from, to - from));
    from = to;
  }
  reading.finish();
  return reading.outcomes;
}

}  // namespace dualmesh::net::testing
