// Request heads: the verdict does not depend on cuts; an accepted head, written again from its
// fields, is accepted again and means the same.
#include <cstdint>

#include "net/http_parser.h"
#include "net/http_writer.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::net;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const HeadLimits limits{2000, 20};
  HttpRequest whole, cut;
  RequestParser parser(limits), piecewise(limits);
  const Parsed verdict = parser.parse(bytes, whole);
  Parsed cut_verdict = Parsed::need_more;
  for (std::size_t i = 1; i <= size && cut_verdict == Parsed::need_more; ++i) {
    cut_verdict = piecewise.parse(bytes.substr(0, i), cut);
  }
  FUZZ_CHECK(verdict == cut_verdict);
  FUZZ_CHECK(parser.error_status() == piecewise.error_status());
  if (verdict == Parsed::failed) FUZZ_CHECK(parser.error_status() >= 400);
  if (verdict != Parsed::complete) return 0;
  FUZZ_CHECK(whole.headers == cut.headers);
  FUZZ_CHECK(parser.head_size() == piecewise.head_size() && parser.head_size() <= size);

  std::string again;
  append_request_head(again, whole, "a", 3);
  HttpRequest second;
  RequestParser reparser({4000, 30});
  FUZZ_CHECK(reparser.parse(again, second) == Parsed::complete);
  FUZZ_CHECK(reparser.head_size() == again.size());
  FUZZ_CHECK(reparser.framing().kind == BodyFraming::Kind::length &&
             reparser.framing().length == 3);
  FUZZ_CHECK(second.method == whole.method && second.target == whole.target);
  return 0;
}
