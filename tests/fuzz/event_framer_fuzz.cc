// Streams of events in pieces: nothing is lost or changed, and what has passed is whole events.
#include <cstdint>
#include <string>

#include "net/event_framer.h"
#include "tests/fuzz/fuzz_check.h"

using dualmesh::net::EventFramer;

namespace {

bool ends_with_blank_line(std::string_view text) {
  return text.ends_with("\n\n") || text.ends_with("\r\r") || text.ends_with("\n\r\n");
}

}  // namespace

// The first byte is the size of the pieces.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = data[0] % 16 + 1;
  std::string_view left(reinterpret_cast<const char*>(data + 1), size - 1);
  EventFramer framer;
  std::string fed, passed;
  while (!left.empty()) {
    const std::string_view piece = left.substr(0, step);
    left.remove_prefix(piece.size());
    fed += piece;
    passed += framer.feed(piece);
    FUZZ_CHECK(passed + std::string(framer.rest()) == fed);
    FUZZ_CHECK(framer.between_events());  // none is as large as kLargestEvent
    FUZZ_CHECK(passed.empty() || ends_with_blank_line(passed));
  }
  return 0;
}
