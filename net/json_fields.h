// JsonValue and KnownFields: the values of the fields we know, by their places in the text.
//
// Threads: values. Source: ours.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "net/json_scan.h"
#include "net/name_table.h"

namespace dualmesh::net {

// A value by its place in the text.
struct JsonValue {
  JsonScan::Token kind = JsonScan::Token::none;  // none: absent
  // A string's; of others: `other` when minified() would change them. Containers are so until they
  // have ended.
  JsonString::Spelling spelling = JsonString::Spelling::plain;
  std::size_t begin = 0;
  std::size_t end = 0;

  bool is_given() const { return kind != JsonScan::Token::none && kind != JsonScan::Token::null; }
  bool is_string() const { return kind == JsonScan::Token::string; }
  bool is_minimal() const { return spelling != JsonString::Spelling::other; }
  std::string_view spelled(std::string_view text) const { return text.substr(begin, end - begin); }
  JsonString string(std::string_view text) const {
    return {text.substr(begin + 1, end - begin - 2), spelling};
  }
};

inline bool opens(JsonScan::Token token) {
  return token == JsonScan::Token::object || token == JsonScan::Token::array;
}

// Of the value whose first token `scan` has just read; containers end later.
inline JsonValue value_begun(const JsonScan& scan, JsonScan::Token token, std::string_view text) {
  using Token = JsonScan::Token;
  using Spelling = JsonString::Spelling;
  const bool is_plain = token == Token::yes || token == Token::no || token == Token::null;
  return {token,
          token == Token::string ? scan.string(text).spelling
          : is_plain             ? Spelling::plain
                                 : Spelling::other,
          scan.token_begin(), scan.position()};
}
// With the container's end just read, where `respelled` is what scan.respelled() was at its begin.
inline void value_ended(JsonValue& value, const JsonScan& scan, std::size_t respelled) {
  value.end = scan.position();
  if (scan.respelled() == respelled) value.spelling = JsonString::Spelling::minimal;
}

// The values of some fields of one object, and nothing of the others.
template <std::size_t kCount>
struct KnownFields {
  // A field that has been given before, or might have been under another spelling: false.
  bool key(const NameTable<kCount>& names, const JsonString& name) {
    if (name.escaped()) return false;
    at = names.find(name.raw);
    return at == kCount || values[at].kind == JsonScan::Token::none;
  }
  void value(const JsonScan& scan, JsonScan::Token token, std::string_view text) {
    if (at == kCount) return;
    values[at] = value_begun(scan, token, text);
    respelled = scan.respelled();
  }
  void container_ended(const JsonScan& scan) {
    if (at < kCount) value_ended(values[at], scan, respelled);
  }
  std::array<JsonValue, kCount> values{};
  std::size_t at = kCount;    // of the key read last; kCount: one we do not know
  std::size_t respelled = 0;  // where its value begins
};

}  // namespace dualmesh::net
