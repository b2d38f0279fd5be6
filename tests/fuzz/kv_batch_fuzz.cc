// Any bytes as a batch of KV events: an error, or a batch whose ranges lie within it; its changes
// are taken by a map, and twice the same bytes make the same changes.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "node/kv/kv_translator.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

bool same(const std::vector<BlockChange>& a, const std::vector<BlockChange>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.kind == y.kind && x.key == y.key && x.value == y.value;
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  EngineBatch batch;
  if (decode(payload, batch) != BatchError::none) {
    FUZZ_CHECK(batch.events.empty());
    return 0;
  }
  std::size_t hashes = 0;
  for (const EngineEvent& event : batch.events) {
    hashes += event.hashes;
    FUZZ_CHECK(event.first_hash + event.hashes <= batch.hashes.size());
    FUZZ_CHECK(event.first_token + event.tokens <= batch.tokens.size());
    FUZZ_CHECK(event.first_extra + event.extras <= batch.extras.size());
  }
  FUZZ_CHECK(hashes <= size);
  BlockMap map;
  KvTranslator translator, twin;
  std::vector<BlockChange> changes, again;
  for (std::uint64_t step = 0; step < 2; ++step) {  // the second time with what the first left
    changes.clear();
    again.clear();
    translator.translate(batch, &map, changes);
    twin.translate(batch, &map, again);
    FUZZ_CHECK(same(changes, again));
    FUZZ_CHECK(changes.size() <= hashes + batch.events.size());
    FUZZ_CHECK(map.apply({step}, {step + 1}, changes) == crdt::Applied::changed);
    FUZZ_CHECK(map.present() <= hashes);
  }
  return 0;
}
