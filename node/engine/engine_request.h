// What a simulated instance reads from a request beyond what routing needs, and its tokenizer:
// every 4 bytes of canonical prompt text are one token, given token ids count as they are.
//
// Threads: pure functions.
// Source: OpenAI API reference; vLLM's /tokenize.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/prompt_reader.h"
#include "node/engine/engine_answers.h"
#include "policies/prompt_chain.h"

namespace dualmesh::node {

struct SimulatedPrompt {
  std::uint32_t tokens = 1;
  std::uint64_t seed = 0;  // of the answer; a function of model and prompt
  std::vector<policies::BlockKey> blocks;
};
SimulatedPrompt tokenize_prompt(const net::PromptFields& fields, std::uint32_t block_tokens);
std::vector<std::uint32_t> token_ids(const net::PromptFields& fields);

struct EngineFields {
  std::vector<std::uint64_t> input_seeds;  // embeddings: one per input
  EmbeddingOptions embedding;
};
boost::system::result<EngineFields, net::ApiError> read_engine_fields(net::Endpoint endpoint,
                                                                      std::string_view body);

// A /tokenize body as the generating request with the same prompt.
struct TokenizeRequest {
  net::Endpoint endpoint = net::Endpoint::completions;
  std::string body;
};
boost::system::result<TokenizeRequest, net::ApiError> tokenize_request(
    std::string_view body, const std::string& default_model);

}  // namespace dualmesh::node
