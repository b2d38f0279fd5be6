// Our parsers and the reader of chunked bodies beside http-parser and Boost.Beast: what
// we accept, they refuse or read alike; what we send on, they refuse or read as it was meant.
#include <cstdint>

#include "tests/fuzz/fuzz_check.h"
#include "tests/net/parser_twins.h"

using namespace dualmesh::net::testing;

// The first byte says what the rest is: a connection's requests, the body of a chunked one, an
// answer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string bytes;
  if (data[0] == 'c') {
    bytes = "POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  }
  bytes.append(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] == 'a') {
    const TwinReading answer = read_our_answer(bytes);
    FUZZ_CHECK(difference(answer, read_http_parser_answer(bytes)).empty());
    FUZZ_CHECK(difference(answer, read_beast_answer(bytes)).empty());
    return 0;
  }

  const TwinReading ours = read_ours(bytes);
  FUZZ_CHECK(difference(ours, read_http_parser(bytes)).empty());
  FUZZ_CHECK(difference(ours, read_beast(bytes)).empty());
  for (const TwinMessage& message : ours.messages) {
    const std::string again = written_again(message);
    const TwinReading meant{TwinReading::End::clean, {with_host(message)}};
    for (const TwinReading& second : {read_http_parser(again), read_beast(again)}) {
      if (second.messages.empty() && second.end == TwinReading::End::refused) continue;
      FUZZ_CHECK(second.end == TwinReading::End::clean && second.messages.size() == 1);
      FUZZ_CHECK(difference(meant, second).empty());
    }
  }
  return 0;
}
