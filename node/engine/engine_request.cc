#include "node/engine/engine_request.h"

#include <simdjson.h>
#include <xxhash.h>

#include <algorithm>
#include <optional>
#include <nlohmann/json.hpp>

#include "net/json_depth.h"

namespace dualmesh::node {

using net::ApiError;
using net::Endpoint;
using nlohmann::json;

namespace {

constexpr std::size_t kBytesPerToken = 4;
constexpr int kTokenBits = 17;
constexpr std::uint32_t kMaxDimensions = 4096;

ApiError bad(std::string message, std::string param) {
  return {.message = std::move(message), .param = std::move(param)};
}

// Prompts can be long, and these two fields are all else that matters: no tree is built for them.
std::optional<ApiError> read_small_fields(std::string_view body, EngineFields& fields) {
  thread_local simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(body);
  simdjson::ondemand::document document;
  simdjson::ondemand::value value;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return {};
  std::int64_t count = 0;
  if (document.find_field_unordered("n").get(value) == simdjson::SUCCESS && !value.is_null() &&
      (value.get_int64().get(count) != simdjson::SUCCESS || count != 1)) {
    return bad("Only n = 1 is supported.", "n");
  }
  if (document.find_field_unordered("cache_salt").get(value) != simdjson::SUCCESS ||
      value.is_null()) {
    return {};
  }
  std::string_view salt;
  if (value.get_string().get(salt) != simdjson::SUCCESS || salt.empty()) {
    return bad("cache_salt must be a string that is not empty.", "cache_salt");
  }
  fields.cache_salt = salt;
  return {};
}

std::uint64_t hash(std::string_view text, std::uint64_t seed) {
  return XXH3_64bits_withSeed(text.data(), text.size(), seed);
}

bool is_single_input(const json& input) {
  return input.is_string() || (input.is_array() && !input.empty() && input[0].is_number());
}

std::uint64_t seed_of(const json& input) {
  const std::string text = input.dump();
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace

SimulatedPrompt tokenize_prompt(const net::PromptFields& fields, CacheSpace space,
                                std::uint32_t block_tokens) {
  SimulatedPrompt prompt;
  auto text = std::make_shared<KvPrompt>();
  text->tokens = token_ids(fields);
  prompt.tokens = static_cast<std::uint32_t>(text->tokens.size());
  prompt.seed = hash(fields.canonical, hash(fields.model, 0));
  policies::BlockKey previous = hash(space.salt, hash(space.lora, space.hash_seed));
  prompt.blocks.resize(prompt.tokens / block_tokens);
  for (std::size_t i = 0; i < prompt.blocks.size(); ++i) {
    previous = XXH3_64bits_withSeed(text->tokens.data() + i * block_tokens,
                                    block_tokens * sizeof(policies::TokenId), previous);
    prompt.blocks[i] = previous;
  }
  text->lora = std::move(space.lora);
  text->lora_number = space.lora_number;
  text->salt = std::move(space.salt);
  prompt.text = std::move(text);
  return prompt;
}

std::vector<policies::TokenId> token_ids(const net::PromptFields& fields) {
  std::string_view text = fields.canonical;
  const bool given = fields.token_ids > 0;
  if (given) text.remove_prefix(1);  // the mark of token prompts; then four bytes each
  std::vector<policies::TokenId> ids;
  ids.reserve(text.size() / kBytesPerToken + 1);
  for (; !text.empty(); text.remove_prefix(std::min(kBytesPerToken, text.size()))) {
    std::uint32_t bytes = 0;
    for (std::size_t i = 0; i < std::min(kBytesPerToken, text.size()); ++i) {
      bytes |= std::uint32_t{static_cast<unsigned char>(text[i])} << 8 * i;
    }
    // Multiplied by an odd number, so that equal beginnings do not give neighbours.
    ids.push_back(given ? bytes : bytes * 0x9E3779B1u >> (32 - kTokenBits));
  }
  if (ids.empty()) ids.push_back(0);
  return ids;
}

boost::system::result<EngineFields, ApiError> read_engine_fields(Endpoint endpoint,
                                                                 std::string_view body) {
  EngineFields fields;
  if (auto error = read_small_fields(body, fields)) return *error;
  if (endpoint != Endpoint::embeddings) return fields;
  if (net::is_nested_deeper(body)) return bad("The body is nested too deeply.", "");
  const json request = json::parse(body, nullptr, false);
  if (!request.is_object()) return bad("The body is not a JSON object.", "");
  const json input = request.value("input", json());
  if (is_single_input(input)) {
    fields.input_seeds.push_back(seed_of(input));
  } else if (input.is_array() && !input.empty()) {
    for (const json& one : input) fields.input_seeds.push_back(seed_of(one));
  } else {
    return bad("input must be a string, an array of strings or an array of tokens.", "input");
  }
  const json format = request.value("encoding_format", json("float"));
  if (format != "float" && format != "base64") {
    return bad("encoding_format must be float or base64.", "encoding_format");
  }
  fields.embedding.base64 = format == "base64";
  const json dimensions = request.value("dimensions", json(fields.embedding.dimensions));
  if (!dimensions.is_number_unsigned() || dimensions.get<std::uint64_t>() < 1 ||
      dimensions.get<std::uint64_t>() > kMaxDimensions) {
    return bad(fmt::format("dimensions must be a whole number from 1 to {}.", kMaxDimensions),
               "dimensions");
  }
  fields.embedding.dimensions = dimensions.get<std::uint32_t>();
  return fields;
}

boost::system::result<TokenizeRequest, ApiError> tokenize_request(
    std::string_view body, const std::string& default_model, bool takes_messages) {
  if (net::is_nested_deeper(body)) return bad("The body is nested too deeply.", "");
  json request = json::parse(body, nullptr, false);
  if (!request.is_object()) return bad("The body is not a JSON object.", "");
  const bool messages = takes_messages && request.contains("messages");
  if (!request.contains("prompt") && !messages) {
    return bad(takes_messages ? "prompt or messages is required." : "prompt is required.",
               "prompt");
  }
  if (!request.contains("model")) request["model"] = default_model;
  TokenizeRequest out;
  if (messages) out.endpoint = Endpoint::chat;
  out.body = request.dump();
  return out;
}

}  // namespace dualmesh::node
