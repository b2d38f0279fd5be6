// The key of what makes other tokens of the same text: the endpoint, and the chat template with its
// arguments. Values as they are spelled, white space aside: 1.0 and 1 are two templates, which
// costs a question. Private to prompt_reader.cc and prompt_scan.cc.
//
// Threads: a pure function.
#pragma once

#include <xxhash.h>

#include <array>
#include <string>

#include "net/request_fields.h"

namespace dualmesh::net {

// The fields' values minified, in the order of the function below; empty: absent.
using TemplateFields = std::array<std::string, 6>;

inline std::uint64_t template_key(Endpoint endpoint, const TemplateFields& fields) {
  std::string text(1, static_cast<char>('0' + static_cast<int>(endpoint)));
  for (const std::string& field : fields) (text += '\0') += field;
  return XXH3_64bits(text.data(), text.size());
}

inline std::uint64_t template_key(Endpoint endpoint, const Body& body) {
  TemplateFields fields;
  auto* into = fields.data();
  for (const MaybeElement* field :
       {&body.chat_template, &body.chat_template_kwargs, &body.mm_processor_kwargs,
        &body.add_generation_prompt, &body.continue_final_message, &body.add_special_tokens}) {
    if (*field) *into = simdjson::minify(**field);
    ++into;
  }
  return template_key(endpoint, fields);
}

}  // namespace dualmesh::net
