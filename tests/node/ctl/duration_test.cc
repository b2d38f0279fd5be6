#include "node/ctl/duration.h"

#include <doctest/doctest.h>

namespace dualmesh::node::ctl {
namespace {

TEST_CASE("a number and its unit are milliseconds") {
  CHECK(*duration_ms("500ms") == 500);
  CHECK(*duration_ms("1.5s") == 1'500);
  CHECK(*duration_ms("2m") == 120'000);
  CHECK(*duration_ms("24h") == 86'400'000);
}

TEST_CASE("without a unit, or with another, the units that there are are named") {
  for (const char* text : {"5", "", "s", "5 parsecs", "5sec", "5 s ", "ms5", "1e", "0x5s"}) {
    CAPTURE(text);
    const auto parsed = duration_ms(text);
    REQUIRE(parsed.has_error());
    CHECK(parsed.error().message.find("ms, s, m or h") != std::string::npos);
  }
}

TEST_CASE("a time of nothing, a negative and an endless one are refused with the range") {
  for (const char* text : {"0s", "0.1ms", "-5s", "25h", "1e300s", "nans", "infs"}) {
    CAPTURE(text);
    const auto parsed = duration_ms(text);
    REQUIRE(parsed.has_error());
    CHECK(parsed.error().message.find("from 1ms to 24h") != std::string::npos);
  }
}

}  // namespace
}  // namespace dualmesh::node::ctl
