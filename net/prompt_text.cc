#include "net/prompt_text.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "net/json_block.h"
#include "net/json_scan.h"

namespace dualmesh::net {

// Of up to 64 bytes, by bits which of them must be escaped. Runs between escapes are short: they
// are copied in one piece of fixed size, of which the rest is overwritten.
void PromptText::append_spelled(const char* from, std::size_t size, std::uint64_t escapes) {
  constexpr std::size_t most = JsonBlock::kBytes, longest_escape = 6;
  char words[2 * most];
  char spelled[(longest_escape + 1) * most];
  std::memcpy(words, from, size);
  char* to = spelled;
  std::size_t at = 0;
  for (; escapes != 0; escapes &= escapes - 1) {
    const auto next = static_cast<std::size_t>(std::countr_zero(escapes));
    if (next >= size) break;
    std::memcpy(to, words + at, most);
    to += next - at;
    char escape[longest_escape];
    to += minimal_escape(words[next], escape).copy(to, longest_escape);
    at = next + 1;
  }
  std::memcpy(to, words + at, most);
  text_.append(spelled, to + (size - at));
}

void PromptText::append_spelled(std::string_view words) {
  const char* at = words.data();
  const char* const end = at + words.size();
  while (at != end) {
    JsonBlock blocks[JsonBlock::kMostRead];
    const std::size_t count = read_json(at, end, JsonBlock::kMostRead, blocks);
    for (std::size_t i = 0; i < count; ++i) {
      const JsonBlock& block = blocks[i];
      const std::size_t size = std::min<std::size_t>(JsonBlock::kBytes, end - at);
      append_spelled(at, size, block.quote | block.backslash | block.control);
      at += size;
    }
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
