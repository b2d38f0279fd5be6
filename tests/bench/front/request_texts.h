// What the load sends: chat completions with the head of OpenAI's Python client, and requests to be
// refused.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dualmesh::bench {

// A whole request whose body has about that many bytes; prompts differ by number from their first
// words on.
std::string chat_request(std::size_t body_bytes, bool stream, std::size_t number);

// Broken framing, broken JSON, unknown models and paths: each must be answered with 4xx or 5xx.
const std::vector<std::string>& bad_requests();

}  // namespace dualmesh::bench
