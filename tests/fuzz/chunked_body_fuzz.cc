// Chunked bodies: payload, end and verdict do not depend on cuts; an accepted payload survives
// being chunked again.
#include <cstdint>

#include "net/chunked_body.h"
#include "net/http_writer.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::net;

namespace {

struct Outcome {
  Decoded verdict = Decoded::need_more;
  std::string payload;
  std::size_t left = 0;
  bool operator==(const Outcome&) const = default;
};

Outcome decode(std::string_view bytes, std::size_t step) {
  ChunkedBody body;
  Outcome outcome;
  while (!bytes.empty()) {
    std::string_view input = bytes.substr(0, step), piece;
    bytes.remove_prefix(input.size());
    while ((outcome.verdict = body.decode(input, piece)) == Decoded::piece)
      outcome.payload += piece;
    outcome.left = input.size() + bytes.size();
    if (outcome.verdict != Decoded::need_more) break;
  }
  if (outcome.verdict == Decoded::failed) outcome.left = 0;
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Outcome whole = decode(bytes, size + 1);
  FUZZ_CHECK(whole == decode(bytes, 1));
  FUZZ_CHECK(whole == decode(bytes, 7));
  if (whole.verdict != Decoded::done) return 0;
  std::string again;
  if (!whole.payload.empty()) {
    again = chunk_head(whole.payload.size()) + whole.payload + std::string(chunk_tail);
  }
  again += last_chunk;
  const Outcome second = decode(again, again.size());
  FUZZ_CHECK(second.verdict == Decoded::done && second.payload == whole.payload &&
             second.left == 0);
  return 0;
}
