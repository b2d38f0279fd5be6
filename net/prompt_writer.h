// PromptWriter: the canonical prompt text (prompt_text.h) written straight from JSON; its reader is
// a PromptSink. Strings that are in the minimal spelling already, nearly all, are told where they
// stand.
//
// Invariant: what is written is what PromptText makes of the same values, and json() what
// simdjson::minify makes of its DOM.
//
// Threads: values; short-lived, since what it holds back goes to the sink when it is destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "net/json_fields.h"
#include "net/prompt_text.h"

namespace dualmesh::net {

// Hears the canonical text in order, in pieces of any size.
class PromptSink {
 public:
  virtual ~PromptSink() = default;
  virtual void text(std::string_view piece) = 0;
  virtual void restart() = 0;  // what was told is void; all of it comes again
};

struct KeptText final : PromptSink {
  void text(std::string_view piece) override { kept += piece; }
  void restart() override { kept.clear(); }
  std::string kept;
};

class PromptWriter {
 public:
  explicit PromptWriter(PromptSink& sink) : sink_(sink) {}
  ~PromptWriter() { flush(); }
  PromptWriter(const PromptWriter&) = delete;
  PromptWriter& operator=(const PromptWriter&) = delete;

  void words(const JsonString& string) {
    if (string.is_minimal()) return append(string.raw);
    respelled(string);
  }
  void message(const JsonString& role) {
    put(PromptMark::message);
    words(role);
  }
  void text(const JsonString& content) {
    if (content.raw.empty()) return;
    put(PromptMark::text);
    words(content);
  }
  void attachment(std::string_view name) {  // its value comes next
    put(PromptMark::attachment);
    append(name);
    put('=');
  }
  // As simdjson::minify writes it. False: it is not for us after all.
  bool json(std::string_view text, const JsonValue& value) {
    if (!value.is_minimal()) return minified(text, value.begin);
    append(value.spelled(text));
    return true;
  }

  void next_text_prompt() { put(PromptMark::message); }
  void begin_tokens() { put(PromptMark::attachment); }
  void next_token_prompt() { token(PromptMark::batch_token); }
  void token(std::uint32_t id) {
    for (int shift = 0; shift < 32; shift += 8) put(static_cast<char>(id >> shift));
  }

  void flush() {
    if (used_ > 0) sink_.text({held_, used_});
    used_ = 0;
  }

 private:
  static constexpr std::size_t kHeldBytes = 1024;
  static constexpr std::size_t kWorthNoCopy = 256;
  static constexpr std::size_t kMostFractions = 1000;  // each costs a parser; a tree is for more

  void put(char c) {
    if (used_ == kHeldBytes) flush();
    held_[used_++] = c;
  }
  void append(std::string_view text);
  void respelled(const JsonString& string);
  bool minified(std::string_view text, std::size_t begin);
  void json_string(const JsonString& string);
  bool number(std::string_view spelled);

  PromptSink& sink_;
  std::size_t used_ = 0;
  std::size_t fractions_ = 0;
  char held_[kHeldBytes];
};

}  // namespace dualmesh::net
