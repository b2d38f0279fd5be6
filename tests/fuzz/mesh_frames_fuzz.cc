// Framing: the scanner, fed in pieces of all sizes, against a parser that has all bytes at once.
// The first byte says how the rest is cut.
#include <cstdint>

#include "net/mesh_frame_guard.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/net/frame_oracle.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dualmesh;
  if (size == 0) return 0;
  constexpr std::uint64_t kMaxWords = 64;
  const std::span<const std::uint8_t> bytes(data + 1, size - 1);
  net::FrameScanner scanner(kMaxWords);
  auto verdict = net::FrameScanner::Verdict::good;
  std::uint32_t step = data[0];
  for (std::size_t at = 0; at < bytes.size();) {
    step = step * 1'664'525 + 1'013'904'223;
    const std::size_t n = std::min<std::size_t>(1 + (step >> 24) % 13, bytes.size() - at);
    verdict = scanner.follow(bytes.subspan(at, n));
    at += n;
  }
  const FrameOutcome expected = read_frames(bytes, kMaxWords);
  FUZZ_CHECK(scanner.messages() == expected.messages);
  FUZZ_CHECK((verdict == net::FrameScanner::Verdict::too_many_segments) ==
             expected.too_many_segments);
  FUZZ_CHECK((verdict == net::FrameScanner::Verdict::too_large) == expected.too_large);
  return 0;
}
