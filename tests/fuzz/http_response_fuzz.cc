// Answer heads: the verdict does not depend on cuts, and framing is never ambiguous.
#include <cstdint>

#include "net/http_parser.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::net;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const HeadLimits limits{2000, 20};
  HttpResponse whole, cut;
  ResponseParser parser(limits, false), piecewise(limits, false);
  const Parsed verdict = parser.parse(bytes, whole);
  Parsed cut_verdict = Parsed::need_more;
  for (std::size_t i = 1; i <= size && cut_verdict == Parsed::need_more; ++i) {
    cut_verdict = piecewise.parse(bytes.substr(0, i), cut);
  }
  FUZZ_CHECK(verdict == cut_verdict);
  if (verdict != Parsed::complete) return 0;
  FUZZ_CHECK(whole.status >= 100 && whole.status <= 599 && whole.status != 101);
  FUZZ_CHECK(whole.headers == cut.headers);
  FUZZ_CHECK(parser.framing().kind == piecewise.framing().kind);
  FUZZ_CHECK(!whole.headers.has("transfer-encoding") && !whole.headers.has("connection"));
  if (parser.framing().kind == BodyFraming::Kind::until_close) FUZZ_CHECK(!parser.keep_alive());
  return 0;
}
