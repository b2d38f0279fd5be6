// PromptList: the canonical text of the messages of a chat, or of the items of a response, written
// while their JSON is scanned: each when it is complete, its fields in the order of the text,
// whatever order they came in.
//
// What is not plainly right says `unsure`, and PromptReader decides: wrong types, keys given twice
// or spelled with escapes, media.
//
// Threads: values. Source: PromptReader (prompt_reader.cc), whose text this must equal.
#pragma once

#include <array>
#include <string_view>

#include "net/json_scan.h"
#include "net/prompt_writer.h"
#include "net/system_prefix.h"

namespace dualmesh::net {

// A value by its place in the text.
struct JsonValue {
  JsonScan::Token kind = JsonScan::Token::none;  // none: absent
  bool escaped = false;                          // a string
  std::size_t begin = 0;
  std::size_t end = 0;

  bool is_given() const { return kind != JsonScan::Token::none && kind != JsonScan::Token::null; }
  bool is_string() const { return kind == JsonScan::Token::string; }
  std::string_view spelled(std::string_view text) const { return text.substr(begin, end - begin); }
  JsonString string(std::string_view text) const {
    return {text.substr(begin + 1, end - begin - 2), escaped};
  }
};

// Of the value whose first token `scan` has just read; containers end later.
inline JsonValue value_begun(const JsonScan& scan, JsonScan::Token token, std::string_view text) {
  return {token, token == JsonScan::Token::string && scan.string(text).escaped, scan.token_begin(),
          scan.position()};
}
inline bool opens(JsonScan::Token token) {
  return token == JsonScan::Token::object || token == JsonScan::Token::array;
}

// The values of some fields of one object, and nothing of the others.
template <std::size_t kCount>
struct KnownFields {
  // A field that has been given before, or might have been under another spelling: false.
  bool key(const std::array<std::string_view, kCount>& names, const JsonString& name) {
    at = kCount;
    if (name.escaped) return false;
    for (std::size_t i = 0; i < kCount; ++i) {
      if (names[i] == name.raw) at = i;
    }
    return at == kCount || values[at].kind == JsonScan::Token::none;
  }
  void value(const JsonValue& value) {
    if (at < kCount) values[at] = value;
  }
  void value_ended(std::size_t end) {
    if (at < kCount) values[at].end = end;
  }
  std::array<JsonValue, kCount> values{};
  std::size_t at = kCount;  // of the key read last; kCount: one we do not know
};

class PromptList {
 public:
  enum class Step : std::uint8_t { going_on, done, unsure };
  enum class Of : std::uint8_t { messages, items };

  explicit PromptList(Of of) : of_(of) {}

  // Responses have them apart from the list, before it.
  void instructions(const JsonString& words, PromptWriter& out);
  // With the list's '[' just read, of which depth() is `depth`.
  void begin(std::size_t depth) { depth_ = depth; }
  // Each token from there on.
  Step take(JsonScan::Token token, const JsonScan& scan, std::string_view text, PromptWriter& out);

  std::size_t size() const { return size_; }
  std::uint64_t system_key() const { return system_.key(); }

 private:
  static constexpr std::size_t kFields = 10;
  static const std::array<std::string_view, kFields> kNames;

  bool element(std::string_view text, std::size_t end, PromptWriter& out);
  bool message(std::string_view text, PromptWriter& out);
  bool parts(const JsonValue& content, std::string_view text, PromptWriter& out);
  bool part(JsonScan& scan, std::string_view text, PromptWriter& out);
  void words(const JsonString& words, PromptWriter& out);

  Of of_;
  std::size_t depth_ = 0;  // of the list itself
  std::size_t size_ = 0;
  bool in_element_ = false;
  std::size_t element_begin_ = 0;
  KnownFields<kFields> fields_;
  SystemPrefix system_;
  bool in_system_ = false;
  bool system_seen_ = false;
};

}  // namespace dualmesh::net
