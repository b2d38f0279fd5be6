#include "net/prompt_text.h"

#include <xxhash.h>

#include <charconv>

#include "net/json_scan.h"
#include "net/json_skip.h"

namespace dualmesh::net {

void PromptText::append_spelled(std::string_view words) {
  const char* at = words.data();
  const char* const end = at + words.size();
  for (bool high = false; at != end;) {
    const char* const stop = find_in_string(at, end, high);
    text_.append(at, stop);
    at = stop;
    char escape[6];
    if (at != end) text_ += minimal_escape(*at++, escape);
  }
}

void PromptText::message(std::string_view role) {
  text_ += PromptMark::message;
  append_spelled(role);
}

void PromptText::text(std::string_view content) {
  if (content.empty()) return;
  text_ += PromptMark::text;
  append_spelled(content);
}

void PromptText::media(std::string_view content) {
  char digits[16];
  const auto hash = XXH3_64bits(content.data(), content.size());
  const auto end = std::to_chars(digits, digits + sizeof digits, hash, 16).ptr;
  text_ += PromptMark::media;
  text_.append(digits, end);
}

void PromptText::attachment(std::string_view name, std::string_view words) {
  json_attachment(name, {});
  append_spelled(words);
}

void PromptText::json_attachment(std::string_view name, std::string_view json) {
  text_ += PromptMark::attachment;
  text_ += name;
  text_ += '=';
  text_ += json;
}

void PromptText::next_text_prompt() { text_ += PromptMark::message; }

void PromptText::prompt_text(std::string_view content) { append_spelled(content); }

void PromptText::begin_tokens() { text_ += PromptMark::attachment; }

void PromptText::next_token_prompt() { token(PromptMark::batch_token); }

void PromptText::token(std::uint32_t id) {
  for (int shift = 0; shift < 32; shift += 8) text_ += static_cast<char>(id >> shift);
}

}  // namespace dualmesh::net
