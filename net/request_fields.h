// The top-level fields of a request body that count, and how each is read or refused. Private to
// prompt_reader.cc: the only header of ours that shows simdjson.
//
// Threads: values; the elements point into the parser that made them.
#pragma once

#include <simdjson.h>
#include <spdlog/fmt/fmt.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "net/prompt_reader.h"

namespace dualmesh::net {

using MaybeError = std::optional<ApiError>;
using MaybeElement = std::optional<simdjson::dom::element>;

inline ApiError wrong(std::string_view param, std::string_view allowed) {
  ApiError error;
  error.message = fmt::format("'{}' must be {}", param, allowed);
  error.param = param;
  return error;
}

inline ApiError missing(std::string_view param) {
  ApiError error;
  error.message = fmt::format("you must provide '{}'", param);
  error.param = param;
  error.code = "missing_required_parameter";
  return error;
}

// The fields of a body that count. A field given twice counts as given last, as in Python's json; a
// field that is null counts as absent.
struct Body {
  MaybeElement model, user, stream, stream_options;
  MaybeElement max_tokens, max_completion_tokens, max_output_tokens;
  MaybeElement messages, prompt, input, instructions, tools, functions;
  MaybeElement cache_salt, chat_template, chat_template_kwargs, mm_processor_kwargs;
  MaybeElement add_generation_prompt, continue_final_message, add_special_tokens;

  explicit Body(simdjson::dom::object fields) {
    for (const auto& [key, value] : fields) {
      if (MaybeElement* const field = find(key)) {
        *field = value.is_null() ? std::nullopt : MaybeElement(value);
      }
    }
  }

 private:
  MaybeElement* find(std::string_view key) {
    const std::pair<std::string_view, MaybeElement*> known[] = {
        {"model", &model},
        {"user", &user},
        {"stream", &stream},
        {"stream_options", &stream_options},
        {"max_tokens", &max_tokens},
        {"max_completion_tokens", &max_completion_tokens},
        {"max_output_tokens", &max_output_tokens},
        {"messages", &messages},
        {"prompt", &prompt},
        {"input", &input},
        {"instructions", &instructions},
        {"tools", &tools},
        {"functions", &functions},
        {"cache_salt", &cache_salt},
        {"chat_template", &chat_template},
        {"chat_template_kwargs", &chat_template_kwargs},
        {"mm_processor_kwargs", &mm_processor_kwargs},
        {"add_generation_prompt", &add_generation_prompt},
        {"continue_final_message", &continue_final_message},
        {"add_special_tokens", &add_special_tokens},
    };
    for (const auto& [name, field] : known) {
      if (name == key) return field;
    }
    return nullptr;
  }
};

inline MaybeError read_string(const MaybeElement& from, std::string_view param, std::string& into) {
  if (!from) return {};
  std::string_view text;
  if (from->get(text) != simdjson::SUCCESS) return wrong(param, "a string");
  into = text;
  return {};
}

inline MaybeError read_flag(const MaybeElement& from, std::string_view param, bool& into) {
  if (from && from->get(into) != simdjson::SUCCESS) return wrong(param, "true or false");
  return {};
}

inline MaybeError read_count(const MaybeElement& from, std::string_view param,
                             std::uint32_t& into) {
  if (!from) return {};
  std::uint64_t count = 0;
  if (from->get(count) != simdjson::SUCCESS || count > UINT32_MAX) {
    return wrong(param, "an integer from 0 to 4294967295");
  }
  into = static_cast<std::uint32_t>(count);
  return {};
}

}  // namespace dualmesh::net
