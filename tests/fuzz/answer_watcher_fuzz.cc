// Answers: what is found does not depend on cuts, and the first token is told at most once.
#include <algorithm>
#include <cstdint>

#include "net/prompt_reader.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::net;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  AnswerWatcher whole(true), cut(true), body(false);
  const bool seen = whole.feed(bytes);
  int told = 0;
  for (std::size_t i = 0; i < size; ++i) told += cut.feed(bytes.substr(i, 1));
  FUZZ_CHECK(told == (seen ? 1 : 0));
  FUZZ_CHECK(whole.prompt_tokens() == cut.prompt_tokens());
  FUZZ_CHECK(whole.completion_tokens() == cut.completion_tokens());
  FUZZ_CHECK(whole.cached_tokens() == cut.cached_tokens());
  FUZZ_CHECK(whole.says_cached_tokens() == cut.says_cached_tokens());
  FUZZ_CHECK(whole.says_cached_tokens() || whole.cached_tokens() == 0);
  int body_told = 0;
  while (!bytes.empty()) {
    const std::size_t piece = std::min<std::size_t>(bytes.size(), 11);
    body_told += body.feed(bytes.substr(0, piece));
    bytes.remove_prefix(piece);
  }
  FUZZ_CHECK(body_told == (size > 0 ? 1 : 0));
  return 0;
}
