// The canonical prompt text: equal prompts give equal bytes, and a longer conversation starts with
// the bytes of the shorter one.
//
// Words stand in it in their minimal JSON spelling: as between the quotes of a JSON string in which
// what must be escaped is (\" \\ \b \f \n \r \t, other control characters as \u00xx in lower case)
// and all else stands for itself, in UTF-8. So two clients that spell the same words differently
// have the same text, and the words of most bodies are hashed as they came, with nothing unescaped.
// Structure is marked by control characters, which that spelling does not have: no words can pass
// for structure. Nothing closes a message: the next one's mark does, which keeps the prefix
// property.
//
// Threads: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::net {

struct PromptMark {
  static constexpr char media = 0x1c;
  static constexpr char attachment = 0x1d;
  static constexpr char message = 0x1e;
  static constexpr char text = 0x1f;
  static constexpr std::uint32_t batch_token = 0xffffffff;  // no token has this id
};

class PromptText {
 public:
  // Chat: tools first, then messages, each with parts in order.
  void message(std::string_view role);
  void text(std::string_view content);   // an empty part leaves no trace
  void media(std::string_view content);  // an image, audio or file: by its hash
  void attachment(std::string_view name, std::string_view words);  // names, ids
  void json_attachment(std::string_view name,
                       std::string_view json);  // tools, tool calls: minified

  // Completions: one prompt or several, of text or of tokens.
  void next_text_prompt();  // before each but the first
  void prompt_text(std::string_view content);
  void begin_tokens();  // once, before the first token
  void next_token_prompt();
  void token(std::uint32_t id);  // below 2^32 - 1; four bytes, so that a ring block is 512 tokens

  std::string take() { return std::move(text_); }

 private:
  void append_spelled(std::string_view words);

  std::string text_;
};

}  // namespace dualmesh::net
