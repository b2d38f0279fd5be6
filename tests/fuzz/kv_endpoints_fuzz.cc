// Any text as an address for KV events: never a crash, and what is accepted prints to a text that
// reads back as the same and has an address for every rank.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "node/kv/kv_endpoints.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::node;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto read = parse_kv_endpoints({reinterpret_cast<const char*>(data), size});
  if (read.has_error()) {
    FUZZ_CHECK(!read.error().message.empty());
    return 0;
  }
  const auto again = parse_kv_endpoints(print(*read));
  FUZZ_CHECK(again.has_value() && *again == *read);
  const std::uint32_t last = read->ranks - 1;
  FUZZ_CHECK(parse_kv_endpoints(endpoint_of_rank(read->events, last)).has_value());
  if (!read->replay.empty()) {
    FUZZ_CHECK(parse_kv_endpoints(endpoint_of_rank(read->replay, last)).has_value());
  }
  return 0;
}
