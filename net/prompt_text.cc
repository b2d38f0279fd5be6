#include "net/prompt_text.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <charconv>

namespace dualmesh::net {
namespace {

// The number of bytes before the first mark. Whole blocks first: the inner loop becomes SIMD.
std::size_t plain_length(std::string_view text) {
  constexpr std::size_t block = 64;
  std::size_t at = 0;
  for (; at + block <= text.size(); at += block) {
    unsigned char any = 0;
    for (std::size_t i = 0; i < block; ++i) {
      any |= static_cast<unsigned char>(PromptMark::is(text[at + i]));
    }
    if (any) break;
  }
  while (at < text.size() && !PromptMark::is(text[at])) ++at;
  return at;
}

}  // namespace

void PromptText::append_escaped(std::string_view content) {
  for (;;) {
    const std::size_t plain = plain_length(content);
    text_.append(content.substr(0, plain));
    if (plain == content.size()) return;
    text_ += PromptMark::escape;
    text_ += PromptMark::escaped(content[plain]);
    content.remove_prefix(plain + 1);
  }
}

void PromptText::message(std::string_view role) {
  text_ += PromptMark::message;
  append_escaped(role);
}

void PromptText::text(std::string_view content) {
  if (content.empty()) return;
  text_ += PromptMark::text;
  append_escaped(content);
}

void PromptText::media(std::string_view content) {
  char digits[16];
  const auto hash = XXH3_64bits(content.data(), content.size());
  const auto end = std::to_chars(digits, digits + sizeof digits, hash, 16).ptr;
  text_ += PromptMark::media;
  text_.append(digits, end);
}

void PromptText::attachment(std::string_view name, std::string_view json) {
  text_ += PromptMark::attachment;
  text_ += name;
  text_ += '=';
  append_escaped(json);
}

void PromptText::next_text_prompt() { text_ += PromptMark::message; }

void PromptText::prompt_text(std::string_view content) { append_escaped(content); }

void PromptText::begin_tokens() { text_ += PromptMark::attachment; }

void PromptText::next_token_prompt() { token(PromptMark::batch_token); }

void PromptText::token(std::uint32_t id) {
  for (int shift = 0; shift < 32; shift += 8) text_ += static_cast<char>(id >> shift);
}

}  // namespace dualmesh::net
