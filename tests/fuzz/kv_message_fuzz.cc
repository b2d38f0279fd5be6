// Bytes as messages from another node -> KvExchange over a KvState that knows two streams: whatever
// comes, the node stays usable, within its limits, and says again what it has read.
#include <cstring>
#include <string>

#include "node/kv/kv_codec.h"
#include "node/kv/kv_exchange.h"
#include "tests/fuzz/fuzz_check.h"

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

void know(KvState& state, const StreamKey& stream, std::size_t blocks) {
  std::vector<BlockChange> changes;
  for (std::size_t i = 1; i <= blocks; ++i) {
    changes.push_back(
        {BlockMap::Kind::add, policies::block_name(i * 0x9e3779b97f4a7c15ULL), {i, 0}});
  }
  state.observed(stream, {{7}, {0}, {1}, changes, 11, {16}});
  state.observed(stream, {{7}, {1}, {2}, {}, 12, {16}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto read = read_message(bytes); read.has_value() && !read->empty()) {
    std::string again;
    for (const KvSection& section : *read) write_section(section, again);
    const auto reread = read_message(again);
    FUZZ_CHECK(reread.has_value() && *reread == *read);
  }
  KvLimits limits;
  limits.max_blocks = 256;
  limits.max_stream_blocks = 128;
  KvState state{limits};
  const StreamKey first{"a", 0}, second{"b", 1};
  state.set_streams(std::vector{first, second});
  know(state, first, 20);
  KvExchangeSettings settings;
  settings.max_message_bytes = 600;
  KvExchange exchange(state, crdt::NodeId{1}, settings);
  const crdt::NodeId peer{2}, other{3};
  policies::Time now{0};
  exchange.set_peers(std::vector<KvPeer>{{peer, {1}}, {other, {1}}}, now);
  // Messages are cut at a length byte each, so that one may prepare the next.
  std::string_view left = bytes;
  while (!left.empty()) {
    const std::size_t length =
        std::min<std::size_t>(left.size(), 1 + static_cast<unsigned char>(left[0]));
    exchange.received(peer, left.substr(0, length), now);
    exchange.received(peer, left.substr(1, length - 1), now);
    left.remove_prefix(length);
    now += std::chrono::milliseconds(700);
    exchange.tick(now);
    for (int i = 0; i < 4; ++i) {
      const std::string answer = exchange.take(peer, now);
      FUZZ_CHECK(answer.size() <= 4096);
      if (!answer.empty()) FUZZ_CHECK(read_message(answer).has_value());
    }
    FUZZ_CHECK(state.blocks() <= limits.max_blocks);
  }
  exchange.lacking();
  state.upkeep(1000);
  return 0;
}
