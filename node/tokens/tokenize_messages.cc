#include "node/tokens/tokenize_messages.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <memory>

namespace dualmesh::node {

namespace {

constexpr std::array<std::string_view, 12> kPassedOn = {"model",
                                                        "messages",
                                                        "prompt",
                                                        "tools",
                                                        "chat_template",
                                                        "chat_template_kwargs",
                                                        "documents",
                                                        "add_special_tokens",
                                                        "add_generation_prompt",
                                                        "media_io_kwargs",
                                                        "mm_processor_kwargs",
                                                        "continue_final_message"};

// Walks the members of an object that is known to be valid JSON; stops where it is not.
class MemberWalk {
 public:
  explicit MemberWalk(std::string_view object) : text_(object) {
    skip_to("{");
    ++at_;
  }

  // `key` with its quotes, `member` from there to the end of the value.
  bool next(std::string_view& key, std::string_view& member) {
    skip_to("\"}");
    if (at_ >= text_.size() || text_[at_] == '}') return false;
    const std::size_t from = at_;
    skip_string();
    key = text_.substr(from, at_ - from);
    skip_to(":");
    ++at_;
    skip_value();
    if (at_ >= text_.size()) return false;
    member = text_.substr(from, at_ - from);
    return true;
  }

 private:
  void skip_to(std::string_view any) {
    at_ = std::min(text_.find_first_of(any, at_), text_.size());
  }

  // From its first quote to behind its last.
  void skip_string() {
    for (++at_; at_ < text_.size(); ++at_) {
      at_ = text_.find('"', at_);
      if (at_ == std::string_view::npos) break;
      std::size_t slashes = 0;
      while (text_[at_ - 1 - slashes] == '\\') ++slashes;
      if (slashes % 2 == 0) {
        ++at_;
        return;
      }
    }
    at_ = text_.size();
  }

  // To the comma or bracket that ends it.
  void skip_value() {
    for (std::size_t depth = 0;;) {
      skip_to("\"{}[],");
      if (at_ >= text_.size()) return;
      switch (text_[at_]) {
        case '"':
          skip_string();
          continue;
        case '{':
        case '[':
          ++depth;
          break;
        case ',':
          if (depth == 0) return;
          break;
        default:
          if (depth-- == 0) return;
      }
      ++at_;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string tokenize_body(std::string_view request_body) {
  std::string body;
  body.reserve(request_body.size() + 2);
  body += '{';
  MemberWalk walk(request_body);
  for (std::string_view key, member; walk.next(key, member);) {
    const std::string_view name = key.substr(1, key.size() - 2);
    if (std::find(kPassedOn.begin(), kPassedOn.end(), name) == kPassedOn.end()) continue;
    if (body.size() > 1) body += ',';
    body += member;
  }
  body += '}';
  return body;
}

std::optional<std::vector<policies::TokenId>> read_tokenize_answer(std::string_view body) {
  if (body.size() > kMaxTokenizeAnswer) return {};
  thread_local std::unique_ptr<simdjson::dom::parser> parser;  // fresh after a large answer
  if (!parser) parser = std::make_unique<simdjson::dom::parser>();
  simdjson::dom::array ids;
  std::optional<std::vector<policies::TokenId>> tokens;
  if (parser->parse(body.data(), body.size())["tokens"].get(ids) == simdjson::SUCCESS) {
    tokens.emplace();
    // An array says how many it has up to 2^24, which is beyond what is believed.
    if (ids.size() <= kMaxPromptTokens) tokens->reserve(ids.size());
    for (const simdjson::dom::element id : ids) {
      std::uint64_t value = 0;
      if (tokens->size() == kMaxPromptTokens || id.get(value) != simdjson::SUCCESS ||
          value >= UINT32_MAX) {
        tokens.reset();
        break;
      }
      tokens->push_back(static_cast<policies::TokenId>(value));
    }
  }
  if (body.size() > (1 << 20)) parser.reset();
  return tokens;
}

}  // namespace dualmesh::node
