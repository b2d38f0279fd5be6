// The key of what makes other tokens of the same text: the endpoint, and the chat template with its
// arguments. Values as they are spelled, white space aside: 1.0 and 1 are two templates, which
// costs a question. Private to prompt_reader.cc.
//
// Threads: a pure function.
#pragma once

#include <xxhash.h>

#include <string>

#include "net/request_fields.h"

namespace dualmesh::net {

inline std::uint64_t template_key(Endpoint endpoint, const Body& body) {
  std::string text(1, static_cast<char>('0' + static_cast<int>(endpoint)));
  for (const MaybeElement* field :
       {&body.chat_template, &body.chat_template_kwargs, &body.mm_processor_kwargs,
        &body.add_generation_prompt, &body.continue_final_message, &body.add_special_tokens}) {
    text += '\0';
    if (*field) text += simdjson::minify(**field);
  }
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace dualmesh::net
