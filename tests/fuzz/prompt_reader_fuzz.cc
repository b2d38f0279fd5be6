// Bodies: every endpoint answers with fields or a 4xx; the same body gives the same text, also
// through a reader that has read other things before.
#include <cstdint>

#include "net/prompt_reader.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::net;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static PromptReader used;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const Endpoint endpoint : {Endpoint::chat, Endpoint::completions, Endpoint::embeddings,
                                  Endpoint::responses, Endpoint::other}) {
    const auto result = used.read(endpoint, body);
    if (endpoint == Endpoint::other) FUZZ_CHECK(result.has_value());
    PromptReader fresh;
    const auto again = fresh.read(endpoint, body);
    FUZZ_CHECK(result.has_value() == again.has_value());
    if (result.has_error()) {
      FUZZ_CHECK(result.error().status == 400 && !result.error().message.empty());
      // The error must itself be JSON that a client can read.
      const auto echoed = used.read(Endpoint::chat, to_json(result.error()));
      FUZZ_CHECK(echoed.has_error() && echoed.error().param == "model");
      continue;
    }
    FUZZ_CHECK(result->canonical == again->canonical);
    const auto with_tokens = used.read(endpoint, body, Tokens::wanted);
    FUZZ_CHECK(with_tokens.has_value() && with_tokens->canonical == again->canonical);
    FUZZ_CHECK(again->tokens.empty() && again->token_form == TokenForm::none);
    if (with_tokens->token_form == TokenForm::given) {
      FUZZ_CHECK(with_tokens->tokens.size() == again->token_ids);
    } else {
      FUZZ_CHECK(with_tokens->tokens.empty());
    }
    if (endpoint != Endpoint::other) FUZZ_CHECK(!result->model.empty());
  }
  return 0;
}
