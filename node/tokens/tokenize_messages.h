// What is said to an engine's POST /tokenize, and what it answers.
//
// Of a request only what decides its tokens is passed on, as it was spelled: an engine warns of
// every field it does not know. The answer is bytes from outside.
//
// Threads: functions; the reader of answers keeps scratch storage per thread.
// Source: vLLM's and SGLang's /tokenize, in both of its forms.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policies/token_chain.h"

namespace dualmesh::node {

// No prompt has more; what says so is not believed.
inline constexpr std::size_t kMaxPromptTokens = 4 << 20;
inline constexpr std::size_t kMaxTokenizeAnswer = 32 << 20;  // bytes

// From the body of a chat or completion request, which is a JSON object (PromptReader has read it).
std::string tokenize_body(std::string_view request_body);

// {"tokens": [..], ..}; nothing when it is not that.
std::optional<std::vector<policies::TokenId>> read_tokenize_answer(std::string_view body);

}  // namespace dualmesh::node
