// PromptList: the messages of a chat, or the items of a response: where their fields are, noted
// while their JSON is scanned, and their canonical text, written from that in the order of the
// text, whatever order they came in. What has been noted can be written again.
//
// What is not plainly right says `unsure`, and PromptReader decides: wrong types, keys given twice
// or spelled with escapes, media.
//
// Threads: values. Source: PromptReader (prompt_reader.cc), whose text this must equal.
#pragma once

#include <array>
#include <boost/container/small_vector.hpp>
#include <string_view>

#include "net/json_fields.h"
#include "net/prompt_writer.h"
#include "net/system_prefix.h"

namespace dualmesh::net {

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
  Step take(JsonScan::Token token, const JsonScan& scan, std::string_view text);
  // What is complete and not yet written. False: unsure.
  bool write(std::string_view text, PromptWriter& out);
  // Where what is not yet written begins.
  std::size_t written_to() const { return written_ == 0 ? 0 : elements_[written_ - 1].value.end; }
  void restart();  // nothing is written

  std::size_t size() const { return elements_.size(); }
  std::uint64_t system_key() const { return system_.key(); }

 private:
  static constexpr std::size_t kFields = 10;

  using Values = std::array<JsonValue, kFields>;
  struct NotedField {
    std::uint8_t index;
    JsonValue value;
  };
  struct Element {
    JsonValue value;
    std::size_t fields_begin;  // in noted_
    std::size_t fields_end;
  };

  void note();
  bool element(const Element& element, std::string_view text, PromptWriter& out);
  bool message(const Values& values, std::string_view text, PromptWriter& out);
  bool parts(const JsonValue& content, std::string_view text, PromptWriter& out);
  bool part(JsonScan& scan, std::string_view text, PromptWriter& out);
  void words(const JsonString& words, PromptWriter& out);

  Of of_;
  std::size_t depth_ = 0;  // of the list itself
  boost::container::small_vector<NotedField, 16> noted_;
  boost::container::small_vector<Element, 6> elements_;
  std::size_t written_ = 0;  // of the elements
  bool in_element_ = false;
  JsonValue element_;
  std::size_t respelled_ = 0;  // where it begins
  KnownFields<kFields> fields_;
  SystemPrefix system_;
  bool in_system_ = false;
  bool system_seen_ = false;
};

}  // namespace dualmesh::net
