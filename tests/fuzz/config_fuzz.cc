// Any text as a configuration file: never a crash, and what is accepted prints to a text that reads
// back to the same settings.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "node/router/config.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh::node;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Config config;
  if (!read_toml(text, "f", config).empty()) return 0;
  config.identity.tenants_file.clear();  // no file of this machine is input
  check_whole(config, "f");
  const std::string printed = print_toml(config);
  Config again;
  FUZZ_CHECK(read_toml(printed, "p", again).empty());
  again.identity = config.identity;  // secrets are not printed
  again.metrics_token = config.metrics_token;
  again.client_weights = config.client_weights;
  again.upstream_api_key = config.upstream_api_key;
  FUZZ_CHECK(print_toml(again) == printed);
  return 0;
}
