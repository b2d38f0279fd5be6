// PromptScan against PromptReader: where the scan is sure, both say the same, wherever the body is
// cut. The first byte of the input chooses the endpoint and the cuts.
#include <cstdint>

#include "tests/fuzz/fuzz_check.h"
#include "tests/net/prompt_twins.h"

using namespace dualmesh::net;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr Endpoint endpoints[] = {Endpoint::chat, Endpoint::completions, Endpoint::embeddings,
                                    Endpoint::responses};
  const Endpoint endpoint = endpoints[data[0] % 4];
  std::vector<std::size_t> cuts;
  if (const std::size_t step = data[0] / 4 % 32; step > 0 && body.size() / step < 4096) {
    for (std::size_t at = step; at < body.size(); at += step) cuts.push_back(at);
  }
  const Tokens tokens = data[0] >= 128 ? Tokens::wanted : Tokens::unwanted;
  const Twins cut = compare_twins(endpoint, body, tokens, cuts);
  if (!cut.difference.empty()) std::fprintf(stderr, "%s\n", cut.difference.c_str());
  FUZZ_CHECK(cut.difference.empty());
  FUZZ_CHECK(cut.sure == compare_twins(endpoint, body, tokens, {}).sure);
  return 0;
}
