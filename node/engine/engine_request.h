// What a simulated instance reads from a request beyond what routing needs, and its tokenizer:
// every 4 bytes of canonical prompt text are one token, given token ids are taken as they are.
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
#include "node/engine/kv_event_log.h"
#include "policies/prompt_chain.h"

namespace dualmesh::node {

struct SimulatedPrompt {
  std::uint32_t tokens = 1;
  std::uint64_t seed = 0;  // of the answer; a function of model and prompt
  std::vector<policies::BlockKey> blocks;  // the engine's own hashes
  std::shared_ptr<const KvPrompt> text;    // its tokens, and what else tells caches apart
};
// What tells caches of equal tokens apart: adapter and salt, and per life of an engine the seed.
struct CacheSpace {
  std::uint64_t hash_seed = 0;
  std::string lora;  // empty: the base model
  std::uint32_t lora_number = 0;
  std::string salt;
};
SimulatedPrompt tokenize_prompt(const net::PromptFields& fields, CacheSpace space,
                                std::uint32_t block_tokens);
// Below 2^17 where they stand for text; at least one.
std::vector<policies::TokenId> token_ids(const net::PromptFields& fields);

struct EngineFields {
  std::vector<std::uint64_t> input_seeds;  // embeddings: one per input
  EmbeddingOptions embedding;
  std::string cache_salt;
};
boost::system::result<EngineFields, net::ApiError> read_engine_fields(net::Endpoint endpoint,
                                                                      std::string_view body);

// A /tokenize body as the generating request with the same prompt. SGLang knows no messages there.
struct TokenizeRequest {
  net::Endpoint endpoint = net::Endpoint::completions;
  std::string body;
};
boost::system::result<TokenizeRequest, net::ApiError> tokenize_request(
    std::string_view body, const std::string& default_model, bool takes_messages = true);

}  // namespace dualmesh::node
