// The bodies of answers in OpenAI's shapes, whole and as server-sent events.
//
// Generated text is words chosen by (seed, position), so equal prompts get equal answers, one word
// a token.
//
// Threads: pure functions of their arguments.
// Source: OpenAI API reference: chat, completions, embeddings, responses and their streaming
// events.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/prompt_reader.h"

namespace dualmesh::node {

struct Answer {
  net::Endpoint endpoint = net::Endpoint::chat;
  std::string id;
  std::string model;
  std::int64_t created_s = 0;
  std::uint64_t seed = 0;
  bool include_usage = false;
  bool cut_at_limit = false;  // the caller set the length: finish_reason is length, else stop
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens = 0;
  std::uint32_t output_tokens = 0;
};

// Tokens [from, to) of the answer, as they follow each other in its text.
std::string answer_text(std::uint64_t seed, std::uint32_t from, std::uint32_t to);

std::string whole_answer(const Answer& answer);

// A stream is open, pieces in order, close; each already framed as events.
std::string stream_open(const Answer& answer);
std::string stream_piece(const Answer& answer, std::uint32_t from, std::uint32_t to);
std::string stream_close(const Answer& answer);

struct EmbeddingOptions {
  std::uint32_t dimensions = 64;
  bool base64 = false;
};
// One unit vector per seed.
std::string embeddings_answer(const Answer& answer, const std::vector<std::uint64_t>& seeds,
                              const EmbeddingOptions& options);

}  // namespace dualmesh::node
