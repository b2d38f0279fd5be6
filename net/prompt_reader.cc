#include "net/prompt_reader.h"

#include <simdjson.h>
#include <spdlog/fmt/fmt.h>

#include <optional>

#include "net/prompt_text.h"
#include "net/request_fields.h"
#include "net/system_prefix.h"
#include "net/template_key.h"

namespace dualmesh::net {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

// A parser keeps the storage of the largest body it has seen; above this it is not worth keeping.
constexpr std::size_t keep_body_bytes = 4 * 1024 * 1024;
// A schema or a message nested deeper than this is not a prompt.
constexpr std::size_t max_depth = 256;

std::string_view string_at(object from, std::string_view key) {
  std::string_view text;
  return from[key].get(text) == simdjson::SUCCESS ? text : std::string_view();
}

// Reads prompts into canonical text; each function names what it refuses.
class PromptWalk {
 public:
  PromptWalk(PromptFields& fields, Tokens tokens) : fields_(fields), tokens_(tokens) {}

  void tools(const Body& body) {
    if (body.tools) text_.json_attachment("tools", simdjson::minify(*body.tools));
    if (body.functions) text_.json_attachment("functions", simdjson::minify(*body.functions));
  }

  MaybeError chat(const Body& body) {
    array messages;
    if (!body.messages) return missing("messages");
    if (body.messages->get(messages) != simdjson::SUCCESS || messages.size() == 0) {
      return wrong("messages", "a list of at least one message");
    }
    std::size_t index = 0;
    for (element entry : messages) {
      if (MaybeError error = message(entry, fmt::format("messages[{}]", index++))) return error;
    }
    return {};
  }

  // What completions take as `prompt` and embeddings as `input`.
  MaybeError prompts(const MaybeElement& from, std::string_view param) {
    if (!from) return missing(param);
    std::string_view whole;
    if (from->get(whole) == simdjson::SUCCESS) {
      text_.prompt_text(whole);
      form_ = TokenForm::text;
      return {};
    }
    array list;
    if (from->get(list) != simdjson::SUCCESS || list.size() == 0) return wrong(param, prompt_forms);
    const element first = list.at(0).value_unsafe();
    if (first.is_string()) return text_prompts(list, param);
    text_.begin_tokens();
    if (!first.is_array() || list.size() == 1) form_ = TokenForm::given;
    if (!first.is_array()) return token_prompt(list, param);
    bool following = false;
    for (element entry : list) {
      array tokens;
      if (entry.get(tokens) != simdjson::SUCCESS) return wrong(param, prompt_forms);
      if (following) text_.next_token_prompt();
      following = true;
      if (MaybeError error = token_prompt(tokens, param)) return error;
    }
    return {};
  }

  MaybeError responses(const Body& body) {
    std::string_view words;
    if (body.instructions) {
      if (body.instructions->get(words) != simdjson::SUCCESS)
        return wrong("instructions", "a string");
      begin_message("instructions");
      words_of_message(words);
      end_message();
    }
    if (!body.input) return missing("input");
    if (body.input->get(words) == simdjson::SUCCESS) {
      text_.message("user");
      text_.text(words);
      return {};
    }
    array items;
    if (body.input->get(items) != simdjson::SUCCESS)
      return wrong("input", "a string or a list of items");
    std::size_t index = 0;
    for (element entry : items) {
      if (MaybeError error = item(entry, fmt::format("input[{}]", index++))) return error;
    }
    return {};
  }

  std::string take() { return text_.take(); }
  std::uint64_t system_key() const { return system_.key(); }
  // Of a prompt that was read whole.
  TokenForm token_form(Endpoint endpoint) const {
    if (endpoint == Endpoint::chat) return has_media_ ? TokenForm::none : TokenForm::messages;
    return endpoint == Endpoint::completions ? form_ : TokenForm::none;
  }

 private:
  static constexpr std::string_view prompt_forms =
      "a string, a list of strings, a list of token ids or a list of lists of token ids";

  MaybeError text_prompts(array list, std::string_view param) {
    bool following = false;
    for (element entry : list) {
      std::string_view prompt;
      if (entry.get(prompt) != simdjson::SUCCESS) return wrong(param, prompt_forms);
      if (following) text_.next_text_prompt();
      following = true;
      text_.prompt_text(prompt);
    }
    return {};
  }

  MaybeError token_prompt(array tokens, std::string_view param) {
    for (element entry : tokens) {
      std::uint64_t id = 0;
      if (entry.get(id) != simdjson::SUCCESS || id >= UINT32_MAX) return wrong(param, prompt_forms);
      text_.token(static_cast<std::uint32_t>(id));
      ++fields_.token_ids;
      if (tokens_ == Tokens::wanted) fields_.tokens.push_back(static_cast<std::uint32_t>(id));
    }
    return {};
  }

  MaybeError message(element entry, const std::string& where) {
    object fields;
    if (entry.get(fields) != simdjson::SUCCESS) return wrong(where, "an object");
    std::string_view role;
    if (fields["role"].get(role) != simdjson::SUCCESS) return wrong(where + ".role", "a string");
    begin_message(role);
    for (const char* name : {"name", "tool_call_id", "reasoning_content", "reasoning", "refusal"}) {
      if (const auto value = string_at(fields, name); !value.empty()) text_.attachment(name, value);
    }
    element content;
    if (fields["content"].get(content) == simdjson::SUCCESS) {
      if (MaybeError error = parts(content, where + ".content")) return error;
    }
    for (const char* name : {"tool_calls", "function_call"}) {
      element value;
      if (fields[name].get(value) == simdjson::SUCCESS && !value.is_null()) {
        text_.json_attachment(name, simdjson::minify(value));
      }
    }
    end_message();
    return {};
  }

  // The first message of a system's role is the system prompt.
  void begin_message(std::string_view role) {
    text_.message(role);
    const bool of_system = role == "system" || role == "developer" || role == "instructions";
    in_system_ = of_system && !system_seen_;
  }

  void words_of_message(std::string_view words) {
    text_.text(words);
    if (in_system_) system_.add(words);
  }

  void end_message() {
    system_seen_ |= in_system_;
    in_system_ = false;
  }

  MaybeError item(element entry, const std::string& where) {
    object fields;
    if (entry.get(fields) != simdjson::SUCCESS) return wrong(where, "an object");
    const std::string_view type = string_at(fields, "type");
    if (type.empty() || type == "message") return message(entry, where);
    text_.message(type);  // a function call, its output, a reasoning item, a reference
    text_.json_attachment("item", simdjson::minify(entry));
    return {};
  }

  MaybeError parts(element content, const std::string& where) {
    if (content.is_null()) return {};
    std::string_view whole;
    if (content.get(whole) == simdjson::SUCCESS) {
      words_of_message(whole);
      return {};
    }
    array list;
    if (content.get(list) != simdjson::SUCCESS) {
      return wrong(where, "a string, a list of content parts or null");
    }
    std::size_t index = 0;
    for (element part : list) {
      if (MaybeError error = content_part(part, where, index++)) return error;
    }
    return {};
  }

  MaybeError content_part(element part, const std::string& where, std::size_t index) {
    std::string_view words;
    if (part.get(words) == simdjson::SUCCESS) {
      words_of_message(words);
      return {};
    }
    object fields;
    if (part.get(fields) != simdjson::SUCCESS) {
      return wrong(fmt::format("{}[{}]", where, index), "an object or a string");
    }
    const std::string_view type = string_at(fields, "type");
    const bool is_text =
        type.empty() || type == "text" || type == "input_text" || type == "output_text";
    if (is_text) {
      if (fields["text"].get(words) != simdjson::SUCCESS) {
        return wrong(fmt::format("{}[{}].text", where, index), "a string");
      }
      words_of_message(words);
    } else if (type == "refusal" && fields["refusal"].get(words) == simdjson::SUCCESS) {
      words_of_message(words);
    } else {
      media(fields, part);
    }
    return {};
  }

  // Known kinds by their data alone, so that spelling does not matter; others by all they say.
  void media(object fields, element part) {
    has_media_ = true;
    for (const char* holder : {"image_url", "input_audio", "audio_url", "video_url", "file"}) {
      element held;
      if (fields[holder].get(held) != simdjson::SUCCESS) continue;
      std::string_view data;
      if (held.get(data) == simdjson::SUCCESS) return text_.media(data);
      object inner;
      if (held.get(inner) != simdjson::SUCCESS) continue;
      for (const char* name : {"url", "data", "file_data", "file_id"}) {
        if (inner[name].get(data) == simdjson::SUCCESS) return text_.media(data);
      }
    }
    text_.media(simdjson::minify(part));
  }

  PromptFields& fields_;
  const Tokens tokens_;
  TokenForm form_ = TokenForm::none;
  bool has_media_ = false;
  PromptText text_;
  SystemPrefix system_;
  bool in_system_ = false;
  bool system_seen_ = false;
};

MaybeError read_options(const Body& body, PromptFields& fields) {
  if (!body.model) return missing("model");
  if (MaybeError error = read_string(body.model, "model", fields.model)) return error;
  if (fields.model.empty()) return wrong("model", "the name of a model");
  if (MaybeError error = read_string(body.user, "user", fields.user)) return error;
  if (MaybeError error = read_flag(body.stream, "stream", fields.stream)) return error;
  if (body.stream_options) {
    object options;
    if (body.stream_options->get(options) != simdjson::SUCCESS) {
      return wrong("stream_options", "an object");
    }
    element include;
    if (options["include_usage"].get(include) == simdjson::SUCCESS && !include.is_null()) {
      if (include.get(fields.include_usage) != simdjson::SUCCESS) {
        return wrong("stream_options.include_usage", "true or false");
      }
    }
  }
  // The newer name wins where both are given.
  if (MaybeError error = read_count(body.max_tokens, "max_tokens", fields.max_tokens)) return error;
  if (MaybeError error =
          read_count(body.max_output_tokens, "max_output_tokens", fields.max_tokens)) {
    return error;
  }
  return read_count(body.max_completion_tokens, "max_completion_tokens", fields.max_tokens);
}

MaybeError read_prompt(Endpoint endpoint, const Body& body, PromptFields& fields, Tokens tokens) {
  PromptWalk walk(fields, tokens);
  MaybeError error;
  switch (endpoint) {
    case Endpoint::chat:
      walk.tools(body);
      error = walk.chat(body);
      break;
    case Endpoint::completions:
      error = walk.prompts(body.prompt, "prompt");
      break;
    case Endpoint::embeddings:
      error = !body.input && body.messages ? walk.chat(body) : walk.prompts(body.input, "input");
      break;
    case Endpoint::responses:
      walk.tools(body);
      error = walk.responses(body);
      break;
    case Endpoint::other:
      break;
  }
  fields.canonical = walk.take();
  fields.system_key = walk.system_key();
  if (tokens == Tokens::wanted && !error) {
    fields.token_form = walk.token_form(endpoint);
    fields.template_key = template_key(endpoint, body);
    if (fields.token_form != TokenForm::given) fields.tokens.clear();
    std::string_view salt;
    if (body.cache_salt && body.cache_salt->get(salt) == simdjson::SUCCESS) {
      fields.cache_salt = salt;
    }
  }
  return error;
}

// Endpoints we only pass through: what helps routing if it is there, and never a complaint.
PromptFields read_other(const Body& body) {
  PromptFields fields;
  read_string(body.model, "model", fields.model);
  read_string(body.user, "user", fields.user);
  read_flag(body.stream, "stream", fields.stream);
  return fields;
}

}  // namespace

Endpoint endpoint_of(std::string_view path) {
  if (path == "/v1/chat/completions") return Endpoint::chat;
  if (path == "/v1/completions") return Endpoint::completions;
  if (path == "/v1/embeddings") return Endpoint::embeddings;
  if (path == "/v1/responses") return Endpoint::responses;
  return Endpoint::other;
}

struct PromptReader::State {
  State() { fresh_parser(); }
  void fresh_parser() {
    parser = std::make_unique<simdjson::dom::parser>();
    [[maybe_unused]] const auto error = parser->allocate(64 * 1024, max_depth);
  }
  std::unique_ptr<simdjson::dom::parser> parser;
};

PromptReader::PromptReader() : state_(std::make_unique<State>()) {}
PromptReader::~PromptReader() = default;

boost::system::result<PromptFields, ApiError> PromptReader::read(Endpoint endpoint,
                                                                 std::string_view body,
                                                                 Tokens tokens) {
  if (endpoint == Endpoint::other) {
    const std::size_t first = body.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || body[first] != '{') return PromptFields();
  }
  element root;
  const auto parse_error = state_->parser->parse(body.data(), body.size()).get(root);
  object fields;
  const bool is_object = !parse_error && root.get(fields) == simdjson::SUCCESS;
  boost::system::result<PromptFields, ApiError> result = PromptFields();
  if (endpoint == Endpoint::other) {
    if (is_object) result = read_other(Body(fields));
  } else if (parse_error) {
    ApiError error;
    error.message =
        fmt::format("the body is not valid JSON: {}", simdjson::error_message(parse_error));
    result = error;
  } else if (!is_object) {
    ApiError error;
    error.message = "the body must be a JSON object";
    result = error;
  } else {
    const Body known(fields);
    PromptFields read;
    MaybeError error = read_options(known, read);
    if (!error) error = read_prompt(endpoint, known, read, tokens);
    if (error) {
      result = std::move(*error);
    } else {
      result = std::move(read);
    }
  }
  if (body.size() > keep_body_bytes) state_->fresh_parser();
  return result;
}

}  // namespace dualmesh::net
