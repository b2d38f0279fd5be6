// Bytes as the message in a node's state file: tables or an error; what was read and is written
// again reads the same.
#include <capnp/message.h>
#include <capnp/serialize.h>

#include <cstring>

#include "net/mesh_codec.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::size_t words = size / sizeof(capnp::word);
  auto message = kj::heapArray<capnp::word>(words);
  std::memcpy(message.begin(), data, words * sizeof(capnp::word));
  try {
    capnp::FlatArrayMessageReader reader(message);
    const auto saved = net::read_saved(reader.getRoot<wire::SavedState>());
    if (!saved) return 0;
    net::RegistryTable registry;
    net::SettingsTable settings;
    for (const auto& row : saved->registry.entries) registry.join(row.key, row.value);
    for (const auto& row : saved->settings.entries) settings.join(row.key, row.value);
    capnp::MallocMessageBuilder builder;
    net::write_saved(registry, settings, builder.initRoot<wire::SavedState>());
    const auto again = net::read_saved(builder.getRoot<wire::SavedState>().asReader());
    FUZZ_CHECK(again.has_value());
    FUZZ_CHECK(again->registry.entries.size() == registry.size());
    FUZZ_CHECK(again->settings.entries.size() == settings.size());
  } catch (const kj::Exception&) {
    return 0;  // Cap'n Proto refused the message itself
  }
  return 0;
}
