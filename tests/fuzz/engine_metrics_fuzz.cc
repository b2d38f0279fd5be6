// Any text as an engine's metrics: never a crash, and whatever is known is a number one can show.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "node/router/engine_metrics_reader.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::node;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const EngineMetrics read =
      read_engine_metrics(std::string_view(reinterpret_cast<const char*>(data), size));
  for (const auto& value : {read.running, read.waiting, read.kv_usage}) {
    if (value) FUZZ_CHECK(std::isfinite(*value) && *value >= 0.0);
  }
  if (read.kv_usage) FUZZ_CHECK(*read.kv_usage <= 1.0);
  if (read.block_tokens) FUZZ_CHECK(*read.block_tokens > 0);
  return 0;
}
