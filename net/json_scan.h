// JsonScan: the tokens of a JSON text that grows at its end, each told once; no tree, no copies.
//
// Invariant: a text whose last token is `end`, and whose check_utf8 never failed, is taken by
// simdjson's DOM with kMaxDepth levels. The reverse does not hold: rare spellings (integers of more
// than 18 digits, exponents of three, numbers of more than 64 characters, lone surrogates) fail
// here, and whoever scans then asks simdjson.
//
// Nothing is read twice however the text grows, but for the last few bytes of what is incomplete.
// Threads: values. Source: RFC 8259.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::net {

// What stands between two quotes.
struct JsonString {
  // How it is spelled. Minimal: what must be escaped is, in its short form ("\n", not "\u000a"),
  // and all else stands for itself; the rare control characters without a short form count as
  // `other`.
  enum class Spelling : std::uint8_t {
    plain,  // without a backslash, which is minimal as well
    minimal,
    other,
  };
  std::string_view raw;
  Spelling spelling = Spelling::plain;

  bool escaped() const { return spelling != Spelling::plain; }
  bool is_minimal() const { return spelling != Spelling::other; }
};

// What a backslash and `c` stand for, where two characters are the whole escape; else NUL.
inline char short_escape(char c) {
  static constexpr std::array<char, 256> meant = [] {
    std::array<char, 256> table{};
    constexpr std::string_view spelled = "\"\\/bfnrt", means = "\"\\/\b\f\n\r\t";
    for (std::size_t i = 0; i < spelled.size(); ++i) {
      table[static_cast<unsigned char>(spelled[i])] = means[i];
    }
    return table;
  }();
  return meant[static_cast<unsigned char>(c)];
}

// Whole numbers keep their spelling when a text is minified.
bool is_minimal_number(std::string_view spelled);

// One escape, from its backslash on; a pair of surrogates counts as one.
struct JsonEscape {
  enum class Kind : std::uint8_t { whole, cut_off, invalid } kind = Kind::invalid;
  std::uint8_t length = 0;
  char32_t code_point = 0;
};
JsonEscape read_escape(const char* from, const char* end);
// Returns how many of the four are written.
std::size_t encode_utf8(char32_t code_point, char (&into)[4]);
inline bool must_be_escaped(char c) {
  return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
}
// How the minimal spelling says what must be escaped.
std::string_view minimal_escape(char c, char (&into)[6]);

// What a valid string says, unescaped, in parts: runs of what stands for itself, and escapes.
class JsonParts {
 public:
  explicit JsonParts(const JsonString& string)
      : at_(string.raw.data()), end_(at_ + string.raw.size()) {}
  JsonParts(const JsonParts&) = delete;
  JsonParts& operator=(const JsonParts&) = delete;
  // Valid until the next call; empty: there is no more.
  std::string_view next();

 private:
  const char* at_;
  const char* const end_;
  char character_[4];
};
std::string unescaped(const JsonString& string);

class JsonScan {
 public:
  enum class Token : std::uint8_t {
    none,
    more,    // the text goes on
    failed,  // no JSON, or of a rare spelling; stays so
    object,
    object_end,
    array,
    array_end,
    key,
    string,
    number,
    yes,
    no,
    null,
    end,  // of the text: one value and white space
  };
  static constexpr std::size_t kMaxDepth = 256;  // as simdjson's DOM counts

  // Numbers that not everybody could represent: fail, or count as any other.
  enum class RareNumbers : std::uint8_t { fail, pass };

  // Begins with the value at `position`, which need not be the first of its text.
  explicit JsonScan(std::size_t position = 0, RareNumbers rare = RareNumbers::fail)
      : position_(position), checked_(position), rare_(rare) {}

  // `text` is what it was at the last call, and more.
  Token next(std::string_view text);

  // Of the last token, if it was none of `more`, `failed` and `end`.
  std::size_t token_begin() const { return begin_; }
  std::size_t position() const { return position_; }  // after it
  std::size_t depth() const { return depth_; }        // of open objects and arrays, after it
  // How much has been read so far that a minified text spells otherwise: white space, strings that
  // are not minimal, numbers that may not be.
  std::size_t respelled() const { return respelled_; }
  JsonString string(std::string_view text) const {  // a key or a string
    return {text.substr(begin_ + 1, string_end_ - begin_ - 1), spelling_};
  }

  // After `more` or `end`: whether what has been scanned is UTF-8.
  bool check_utf8(std::string_view text);

 private:
  enum class Expect : std::uint8_t {
    value,
    value_or_end,  // of an array that has begun
    key,
    key_or_end,
    colon,
    comma_or_end,
    text_end,
  };
  Token begin_string(std::string_view text);
  Token go_on_in_string(std::string_view text);
  Token end_string(std::size_t quote);
  Token fails() {
    failed_ = true;
    return Token::failed;
  }
  Token open(Token container);
  Token close(Token container);
  Token value(std::string_view text);
  Token number(std::string_view text);
  Token literal(std::string_view text, std::string_view word, Token token);
  void after_value() { expect_ = depth_ == 0 ? Expect::text_end : Expect::comma_or_end; }
  bool in_object() const { return (objects_[(depth_ - 1) / 64] >> ((depth_ - 1) % 64) & 1) != 0; }

  std::size_t position_;  // of the first byte that belongs to no token yet; in a string: looked at
  std::size_t begin_ = 0;
  std::size_t string_end_ = 0;
  std::size_t depth_ = 0;
  std::size_t respelled_ = 0;
  std::size_t checked_;  // is UTF-8 up to here
  Expect expect_ = Expect::value;
  RareNumbers rare_;
  bool in_string_ = false;
  bool key_ = false;                                             // the string is one
  JsonString::Spelling spelling_ = JsonString::Spelling::plain;  // of the string, as far as read
  bool high_ = false;  // a byte of 0x80 or above may be after checked_
  bool failed_ = false;
  std::array<std::uint64_t, kMaxDepth / 64> objects_;  // by depth: 1 for an object, 0 for an array
};

}  // namespace dualmesh::net
