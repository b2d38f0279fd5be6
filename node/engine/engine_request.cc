#include "node/engine/engine_request.h"

#include <simdjson.h>
#include <xxhash.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "net/json_depth.h"

namespace dualmesh::node {

using net::ApiError;
using net::Endpoint;
using nlohmann::json;

namespace {

constexpr std::size_t kBytesPerToken = 4;
constexpr std::uint32_t kMaxDimensions = 4096;

ApiError bad(std::string message, std::string param) {
  return {.message = std::move(message), .param = std::move(param)};
}

// Prompts can be long, and `n` is the only other field that matters: no tree is built for it.
bool asks_for_one_choice(std::string_view body) {
  thread_local simdjson::ondemand::parser parser;
  const simdjson::padded_string padded(body);
  simdjson::ondemand::document document;
  simdjson::ondemand::value n;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS) return true;
  if (document.find_field_unordered("n").get(n) != simdjson::SUCCESS) return true;
  std::int64_t count = 0;
  return n.is_null() || (n.get_int64().get(count) == simdjson::SUCCESS && count == 1);
}

bool is_single_input(const json& input) {
  return input.is_string() || (input.is_array() && !input.empty() && input[0].is_number());
}

std::uint64_t seed_of(const json& input) {
  const std::string text = input.dump();
  return XXH3_64bits(text.data(), text.size());
}

}  // namespace

SimulatedPrompt tokenize_prompt(const net::PromptFields& fields, std::uint32_t block_tokens) {
  SimulatedPrompt prompt;
  const std::size_t bytes = fields.canonical.size();
  prompt.tokens = static_cast<std::uint32_t>(
      std::max<std::size_t>(1, (bytes + kBytesPerToken - 1) / kBytesPerToken));
  policies::PromptChainBuilder builder(
      {.block_bytes = static_cast<std::uint32_t>(block_tokens * kBytesPerToken)}, fields.model);
  builder.update(fields.canonical);
  policies::PromptChain chain = builder.finish();
  prompt.seed = chain.whole;
  prompt.blocks = std::move(chain.blocks);
  return prompt;
}

std::vector<std::uint32_t> token_ids(const net::PromptFields& fields) {
  std::vector<std::uint32_t> ids;
  for (std::size_t at = 0; at < fields.canonical.size(); at += kBytesPerToken) {
    std::uint32_t id = 0;
    for (std::size_t i = at; i < std::min(at + kBytesPerToken, fields.canonical.size()); ++i) {
      id = id << 8 | static_cast<unsigned char>(fields.canonical[i]);
    }
    ids.push_back(id);
  }
  return ids;
}

boost::system::result<EngineFields, ApiError> read_engine_fields(Endpoint endpoint,
                                                                 std::string_view body) {
  EngineFields fields;
  if (endpoint != Endpoint::embeddings) {
    if (!asks_for_one_choice(body)) return bad("Only n = 1 is supported.", "n");
    return fields;
  }
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
    std::string_view body, const std::string& default_model) {
  if (net::is_nested_deeper(body)) return bad("The body is nested too deeply.", "");
  json request = json::parse(body, nullptr, false);
  if (!request.is_object()) return bad("The body is not a JSON object.", "");
  if (!request.contains("prompt") && !request.contains("messages")) {
    return bad("prompt or messages is required.", "prompt");
  }
  if (!request.contains("model")) request["model"] = default_model;
  TokenizeRequest out;
  if (request.contains("messages")) out.endpoint = Endpoint::chat;
  out.body = request.dump();
  return out;
}

}  // namespace dualmesh::node
