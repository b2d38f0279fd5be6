// /tokenize: answers are believed within bounds; of whatever a request says only known members are
// passed on.
#include <cstdint>

#include "node/tokens/tokenize_messages.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::node;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokens = read_tokenize_answer(bytes);
  if (tokens) FUZZ_CHECK(tokens->size() <= size);
  const std::string body = tokenize_body(bytes);
  FUZZ_CHECK(body.size() <= size + 2 && body.front() == '{' && body.back() == '}');
  FUZZ_CHECK(tokenize_body(body).size() <= body.size() + 2);
  return 0;
}
