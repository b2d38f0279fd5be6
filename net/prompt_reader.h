// Reads what routing needs out of an OpenAI request body, without re-encoding it.
//
// Yields the model, the flags and the *canonical prompt text*: for chat, each message as role and
// text parts in order (tools first, as chat templates put them; images and audio by the hash of
// their data or URL); for completions and embeddings the string or token array; for responses the
// instructions and input. Equal prompts give equal text, whatever the JSON looked like.
//
// Threads: one reader per I/O thread (it keeps its parse buffers); results are values.
// Source: OpenAI API reference for chat/completions, completions, embeddings, responses.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.h"

namespace dualmesh::net {

enum class Endpoint { chat, completions, embeddings, responses, other };
Endpoint endpoint_of(std::string_view path);

// How an engine can be asked for the tokens of a prompt.
enum class TokenForm : std::uint8_t {
  none,      // several prompts, images or audio, or an endpoint whose prompts nobody tokenises
  given,     // it came as token ids
  text,      // POST /tokenize with `prompt`
  messages,  // POST /tokenize with `messages`
};

struct PromptFields {
  std::string model;
  std::string user;  // empty when absent
  bool stream = false;
  bool include_usage = false;    // stream_options.include_usage
  std::uint32_t max_tokens = 0;  // 0 when absent
  std::string canonical;         // canonical prompt text
  std::uint64_t system_key = 0;  // by the beginning of the system prompt (system_prefix.h); 0: none
  std::uint32_t token_ids = 0;   // number of tokens when the prompt was given as tokens, else 0

  // Where tokens are wanted, else as here.
  std::string cache_salt;  // vLLM: caches of two salts do not meet; empty: none
  TokenForm token_form = TokenForm::none;
  std::vector<std::uint32_t> tokens;  // TokenForm::given
  // Of what makes other tokens of the same text: endpoint and chat template, with its arguments.
  std::uint64_t template_key = 0;
};

enum class Tokens : bool { unwanted, wanted };

struct ApiError {
  int status = 400;
  std::string message;
  std::string type = "invalid_request_error";
  std::string param;  // empty = null
  std::string code;   // empty = null
};
// {"error": {"message", "type", "param", "code"}}
std::string to_json(const ApiError& error);

class PromptReader {
 public:
  PromptReader();
  ~PromptReader();
  boost::system::result<PromptFields, ApiError> read(Endpoint endpoint, std::string_view body,
                                                     Tokens tokens = Tokens::unwanted);

 private:
  struct State;
  std::unique_ptr<State> state_;
};
[[noreturn]] void throw_exception_from_error(const ApiError& error,
                                             const boost::source_location& at);

// Follows an answer as it is relayed, streamed or whole: finds the first generated token and the
// usage block, in pieces of any size. Never fails; what it cannot find stays zero.
class AnswerWatcher {
 public:
  explicit AnswerWatcher(bool event_stream) : event_stream_(event_stream) {}
  // True exactly once: when the first token has been seen.
  bool feed(std::string_view piece);
  std::uint32_t prompt_tokens() const { return prompt_tokens_; }
  std::uint32_t completion_tokens() const { return completion_tokens_; }
  std::uint32_t cached_tokens() const { return cached_tokens_; }
  // Whether the usage said so; engines leave it out unless told to, and some where it is 0.
  bool says_cached_tokens() const { return says_cached_tokens_; }

 private:
  void keep(std::string_view piece);
  void line(std::string_view text);
  void usage(std::string_view json);

  bool event_stream_;
  bool first_seen_ = false;
  std::string partial_;    // of a line, or of the body; bounded
  bool skipping_ = false;  // only the end of it has been kept
  std::uint32_t prompt_tokens_ = 0;
  std::uint32_t completion_tokens_ = 0;
  std::uint32_t cached_tokens_ = 0;
  bool says_cached_tokens_ = false;
};

}  // namespace dualmesh::net
