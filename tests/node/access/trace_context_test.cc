#include "node/access/trace_context.h"

#include <doctest/doctest.h>

#include <string>

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

constexpr const char* kGood = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
constexpr const char* kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";

}  // namespace

TEST_CASE("traceparents") {
  const std::string good = kGood;
  CHECK(trace_id_of(good) == kTrace);
  CHECK(trace_id_of("01" + good.substr(2)) == kTrace);
  CHECK(trace_id_of("cc" + good.substr(2) + "-what-the-future-brings") == kTrace);
  const std::string bad[] = {
      "",
      "00",
      good.substr(0, 54),
      good + "0",
      good + "-00",
      "ff" + good.substr(2),
      "0g" + good.substr(2),
      "01" + good.substr(2) + "x",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bx-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
      "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
  };
  for (const std::string& one : bad) {
    CAPTURE(one);
    CHECK(trace_id_of(one).empty());
  }
}

TEST_CASE("no prefix of a traceparent is one, and no byte of it may be a space") {
  const std::string good = kGood;
  for (std::size_t i = 0; i < good.size(); ++i) {
    CHECK(trace_id_of(good.substr(0, i)).empty());
    std::string changed = good;
    changed[i] = ' ';
    CHECK(trace_id_of(changed).empty());
  }
}

TEST_CASE("what is malformed, doubled or alone is dropped") {
  const auto read = [](std::initializer_list<std::pair<const char*, const char*>> fields) {
    net::Headers head;
    for (const auto& [name, value] : fields) head.add(name, value);
    const TraceContext context = read_trace_context(head);
    CHECK((context.trace_id.empty() || context.trace_id == kTrace));
    return std::pair(!context.trace_id.empty(), context.drops);
  };
  using Verdict = std::pair<bool, bool>;
  CHECK(read({}) == Verdict{false, false});
  CHECK(read({{"Host", "h"}}) == Verdict{false, false});
  CHECK(read({{"Traceparent", kGood}}) == Verdict{true, false});
  CHECK(read({{"tracestate", "a=b"}, {"traceparent", kGood}}) == Verdict{true, false});
  CHECK(read({{"traceparent", "x"}}) == Verdict{false, true});
  CHECK(read({{"tracestate", "a=b"}}) == Verdict{false, true});
  CHECK(read({{"traceparent", kGood}, {"TraceParent", kGood}}) == Verdict{false, true});
}
