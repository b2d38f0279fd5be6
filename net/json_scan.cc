#include "net/json_scan.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "net/json_skip.h"

namespace dualmesh::net {
namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
bool is_digit(char c) { return static_cast<unsigned char>(c - '0') < 10; }

constexpr std::size_t max_number_bytes = 64;
constexpr std::size_t max_integer_digits = 18;  // any such fits in 64 bits with a sign
constexpr std::size_t max_exponent_digits = 2;  // and any such is a finite double

// Four hexadecimal digits; negative when they are none.
int hex4(const char* from) {
  int value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = from[i];
    const char lower = static_cast<char>(c | 0x20);
    int digit = -1;
    if (is_digit(c)) digit = c - '0';
    if (lower >= 'a' && lower <= 'f') digit = lower - 'a' + 10;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

std::size_t skip_digits(std::string_view text, std::size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

// Where the code point that [from, end) may end within begins.
std::size_t whole_code_points(std::string_view text, std::size_t from, std::size_t end) {
  for (std::size_t back = 1; back <= 3 && end - back >= from && back <= end; ++back) {
    const auto byte = static_cast<unsigned char>(text[end - back]);
    if ((byte & 0xc0) == 0x80) continue;
    const std::size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? end - back : end;
  }
  return end;
}

}  // namespace

JsonEscape read_escape(const char* from, const char* end) {
  using Kind = JsonEscape::Kind;
  if (end - from < 2) return {Kind::cut_off};
  if (const char meant = short_escape(from[1])) {
    return {Kind::whole, 2, static_cast<char32_t>(meant)};
  }
  if (from[1] != 'u') return {};
  if (end - from < 6) return {Kind::cut_off};
  const int first = hex4(from + 2);
  if (first < 0) return {};
  if (first < 0xd800 || first >= 0xe000) return {Kind::whole, 6, static_cast<char32_t>(first)};
  if (first >= 0xdc00) return {};
  if (end - from < 12) return {Kind::cut_off};
  if (from[6] != '\\' || from[7] != 'u') return {};
  const int second = hex4(from + 8);
  if (second < 0xdc00 || second >= 0xe000) return {};
  return {Kind::whole, 12,
          static_cast<char32_t>(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))};
}

std::size_t encode_utf8(char32_t code_point, char (&into)[4]) {
  const auto tail = [&](int shift) {
    return static_cast<char>(0x80 | (code_point >> shift & 0x3f));
  };
  if (code_point < 0x80) {
    into[0] = static_cast<char>(code_point);
    return 1;
  }
  if (code_point < 0x800) {
    into[0] = static_cast<char>(0xc0 | code_point >> 6);
    into[1] = tail(0);
    return 2;
  }
  if (code_point < 0x10000) {
    into[0] = static_cast<char>(0xe0 | code_point >> 12);
    into[1] = tail(6);
    into[2] = tail(0);
    return 3;
  }
  into[0] = static_cast<char>(0xf0 | code_point >> 18);
  into[1] = tail(12);
  into[2] = tail(6);
  into[3] = tail(0);
  return 4;
}

bool is_minimal_number(std::string_view spelled) {
  return spelled != "-0" && spelled.find_first_of(".eE") == std::string_view::npos;
}

std::string_view minimal_escape(char c, char (&into)[6]) {
  static constexpr std::array<char, 256> letters = [] {
    std::array<char, 256> table{};
    constexpr std::string_view means = "\"\\\b\f\n\r\t", spelled = "\"\\bfnrt";
    for (std::size_t i = 0; i < means.size(); ++i) {
      table[static_cast<unsigned char>(means[i])] = spelled[i];
    }
    return table;
  }();
  constexpr std::string_view hex = "0123456789abcdef";
  into[0] = '\\';
  into[1] = letters[static_cast<unsigned char>(c)];
  if (into[1] != 0) return {into, 2};
  std::memcpy(into + 1, "u00", 3);
  into[4] = hex[static_cast<std::size_t>(c >> 4)];
  into[5] = hex[static_cast<std::size_t>(c & 15)];
  return {into, 6};
}

std::string_view JsonParts::next() {
  if (at_ == end_) return {};
  if (*at_ == '\\') {
    const JsonEscape escape = read_escape(at_, end_);
    at_ += escape.length;
    return {character_, encode_utf8(escape.code_point, character_)};
  }
  bool high = false;
  const char* const from = std::exchange(at_, find_in_string(at_, end_, high));
  return {from, static_cast<std::size_t>(at_ - from)};
}

std::string unescaped(const JsonString& string) {
  if (!string.escaped()) return std::string(string.raw);
  std::string text;
  JsonParts parts(string);
  for (auto part = parts.next(); !part.empty(); part = parts.next()) text += part;
  return text;
}

JsonScan::Token JsonScan::next(std::string_view text) {
  if (failed_) return Token::failed;
  if (in_string_) return go_on_in_string(text);
  for (;;) {
    for (; position_ < text.size() && is_space(text[position_]); ++position_) ++respelled_;
    if (position_ == text.size()) return expect_ == Expect::text_end ? Token::end : Token::more;
    const char c = text[position_];
    switch (expect_) {
      case Expect::colon:
        if (c != ':') break;
        ++position_;
        expect_ = Expect::value;
        continue;
      case Expect::comma_or_end:
        if (c == ',') {
          ++position_;
          expect_ = in_object() ? Expect::key : Expect::value;
          continue;
        }
        if (c == (in_object() ? '}' : ']')) {
          return close(in_object() ? Token::object_end : Token::array_end);
        }
        break;
      case Expect::key_or_end:
        if (c == '}') return close(Token::object_end);
        [[fallthrough]];
      case Expect::key:
        if (c != '"') break;
        key_ = true;
        return begin_string(text);
      case Expect::value_or_end:
        if (c == ']') return close(Token::array_end);
        [[fallthrough]];
      case Expect::value:
        return value(text);
      case Expect::text_end:
        break;
    }
    return fails();
  }
}

JsonScan::Token JsonScan::value(std::string_view text) {
  switch (text[position_]) {
    case '"':
      key_ = false;
      return begin_string(text);
    case '{':
      return open(Token::object);
    case '[':
      return open(Token::array);
    case 't':
      return literal(text, "true", Token::yes);
    case 'f':
      return literal(text, "false", Token::no);
    case 'n':
      return literal(text, "null", Token::null);
    default:
      return number(text);
  }
}

JsonScan::Token JsonScan::open(Token container) {
  if (depth_ + 1 >= kMaxDepth) {
    return fails();
  }
  const std::uint64_t bit = std::uint64_t{1} << (depth_ % 64);
  std::uint64_t& word = objects_[depth_ / 64];
  word = container == Token::object ? word | bit : word & ~bit;
  ++depth_;
  begin_ = position_++;
  expect_ = container == Token::object ? Expect::key_or_end : Expect::value_or_end;
  return container;
}

JsonScan::Token JsonScan::close(Token container) {
  --depth_;
  begin_ = position_++;
  after_value();
  return container;
}

JsonScan::Token JsonScan::begin_string(std::string_view text) {
  begin_ = position_++;
  in_string_ = true;
  spelling_ = JsonString::Spelling::plain;
  if (text.size() - position_ >= JsonRun::kBytes) {
    const JsonRun run = run_of(text.data() + position_);
    if (run.length < JsonRun::kBytes && text[position_ + run.length] == '"') {
      high_ = high_ || run.high;
      return end_string(position_ + run.length);
    }
  }
  return go_on_in_string(text);
}

JsonScan::Token JsonScan::go_on_in_string(std::string_view text) {
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const char* at = begin + position_;
  using Spelling = JsonString::Spelling;
  for (;;) {
    bool escaped = false;
    at = skip_minimal(at, end, high_, escaped);
    if (escaped) spelling_ = std::max(spelling_, Spelling::minimal);
    if (at == end) break;
    if (*at == '"') return end_string(static_cast<std::size_t>(at - begin));
    if (*at != '\\') return fails();
    JsonEscape escape;
    do {  // those of other spellings come in rows
      escape = read_escape(at, end);
      at += escape.length;
      if (escape.kind == JsonEscape::Kind::whole) {
        spelling_ = Spelling::other;
        at = near_escape(at, end, high_);
      }
    } while (escape.kind == JsonEscape::Kind::whole && at != end && *at == '\\');
    if (escape.kind == JsonEscape::Kind::invalid) return fails();
    if (escape.kind == JsonEscape::Kind::cut_off) break;
  }
  position_ = static_cast<std::size_t>(at - begin);
  return Token::more;
}

JsonScan::Token JsonScan::end_string(std::size_t quote) {
  in_string_ = false;
  string_end_ = quote;
  if (spelling_ == JsonString::Spelling::other) ++respelled_;
  position_ = quote + 1;
  if (key_) {
    expect_ = Expect::colon;
    return Token::key;
  }
  after_value();
  return Token::string;
}

JsonScan::Token JsonScan::literal(std::string_view text, std::string_view word, Token token) {
  const std::string_view found = text.substr(position_, word.size());
  if (found != word.substr(0, found.size())) {
    return fails();
  }
  if (found.size() < word.size()) return Token::more;
  begin_ = position_;
  position_ += word.size();
  after_value();
  return token;
}

// What follows it is checked with the next token; a number at the end of the text may go on.
JsonScan::Token JsonScan::number(std::string_view text) {
  const std::size_t start = position_;
  const std::string_view rest = text.substr(start, max_number_bytes);
  const bool cut_off = text.size() - start < max_number_bytes;
  const auto stops = [&] { return cut_off ? Token::more : fails(); };
  std::size_t at = !rest.empty() && rest[0] == '-' ? 1 : 0;
  const std::size_t integer = at;
  if (at == rest.size()) return stops();
  if (!is_digit(rest[at])) return fails();
  at = rest[at] == '0' ? at + 1 : skip_digits(rest, at);
  bool whole = true;
  const std::size_t digits = at - integer;
  if (at < rest.size() && rest[at] == '.') {
    whole = false;
    const std::size_t fraction = ++at;
    at = skip_digits(rest, at);
    if (at == fraction && at < rest.size()) return fails();
  }
  if (at < rest.size() && (rest[at] | 0x20) == 'e') {
    whole = false;
    ++at;
    if (at < rest.size() && (rest[at] == '+' || rest[at] == '-')) ++at;
    const std::size_t exponent = at;
    at = skip_digits(rest, at);
    if (at < rest.size() && at == exponent) return fails();
    if (at - exponent > max_exponent_digits && rare_ == RareNumbers::fail) return fails();
  }
  if (at == rest.size()) return stops();
  if (whole && digits > max_integer_digits && rare_ == RareNumbers::fail) return fails();
  begin_ = start;
  position_ += at;
  if (!whole || (rest[0] == '-' && rest[1] == '0')) ++respelled_;  // as is_minimal_number()
  after_value();
  return Token::number;
}

bool JsonScan::check_utf8(std::string_view text) {
  const std::size_t end = high_ ? whole_code_points(text, checked_, position_) : position_;
  const bool valid = !high_ || simdjson::validate_utf8(text.data() + checked_, end - checked_);
  high_ = high_ && end != position_;
  checked_ = end;
  return valid;
}

}  // namespace dualmesh::net
