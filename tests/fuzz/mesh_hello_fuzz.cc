// Bytes as a hello, a welcome, a list of positions, those of a ping's answer and rows of the
// registry as they are asked for: judged or refused, never worse; who is accepted has the id of its
// name, and only over TLS with a certificate for it.
#include <capnp/serialize.h>

#include <cstring>

#include "net/mesh_codec.h"
#include "node/mesh/handshake.h"
#include "node/mesh/shared_state.h"
#include "tests/fuzz/fuzz_check.h"

namespace {

using namespace dualmesh;

constexpr std::uint64_t kWallMs = 1'760'000'000'000;

struct Ignore final : node::StateObserver {
  void member_grew(crdt::NodeId, const crdt::Member&) override {}
  void field_grew(const net::FieldKey&) override {}
  void setting_grew(const net::SettingKey&) override {}
  void depth_grew() override {}
  void load_grew(crdt::NodeId, const net::LoadFeed::Delta&) override {}
  void health_grew(crdt::NodeId) override {}
  void status_grew(crdt::NodeId) override {}
  void placements_grew(const net::ResidencyFeed::Delta&) override {}
  void own_feed_grew(node::Urgency) override {}
};

void judge(wire::Hello::Reader hello) {
  node::MeshConfig config;
  config.node_name = "a";
  Ignore ignore;
  node::SharedState state({crdt::node_id_of("a"), crdt::Epoch{kWallMs}}, config, ignore);
  crdt::Member self;
  self.epoch = crdt::Epoch{kWallMs};
  self.name = "a";
  state.join_member(crdt::node_id_of("a"), self);
  const net::PeerIdentity someone{{"b", "evil"}, true};
  const net::PeerIdentity administrator{{"b", "evil"}, false};
  const net::PeerIdentity* identities[] = {nullptr, &someone, &administrator};
  for (const net::PeerIdentity* identity : identities) {
    const auto verdict = node::judge_hello(
        hello, state, config, kWallMs, [](crdt::NodeId) { return true; }, identity);
    FUZZ_CHECK(verdict.accepted == verdict.refusal.empty());
    if (!verdict.accepted) continue;
    FUZZ_CHECK(verdict.node == crdt::node_id_of(verdict.from.name));
    FUZZ_CHECK(identity == nullptr || identity->is_node(verdict.from.name));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::size_t words = size / sizeof(capnp::word);
  auto message = kj::heapArray<capnp::word>(words);
  std::memcpy(message.begin(), data, words * sizeof(capnp::word));
  capnp::ReaderOptions limits;
  limits.traversalLimitInWords = 1 << 20;
  limits.nestingLimit = 16;
  const auto read = [&](auto use) {
    try {
      capnp::FlatArrayMessageReader reader(message, limits);
      use(reader);
    } catch (const kj::Exception&) {
      return;  // Cap'n Proto refused the message itself
    }
  };
  read([](auto& reader) { judge(reader.template getRoot<wire::Hello>()); });
  read([](auto& reader) {
    const auto positions =
        net::read_positions(reader.template getRoot<wire::Peer::PositionsResults>().getPositions());
    if (positions) FUZZ_CHECK(positions->size() <= net::CodecLimits::kPositions);
  });
  read([](auto& reader) {
    net::read_feed_positions(reader.template getRoot<wire::FeedPositions>());
  });
  read([](auto& reader) {
    const auto welcome = reader.template getRoot<wire::Welcome>();
    const auto from = net::read_member(welcome.getFrom());
    if (from) FUZZ_CHECK(from->key.value != 0);
    net::read_member(welcome.getCaller());
  });
  read([](auto& reader) {
    const auto rows =
        net::read_registry(reader.template getRoot<wire::Peer::RegistryResults>().getRows());
    if (rows) FUZZ_CHECK(rows->size() <= net::CodecLimits::kRows);
  });
  return 0;
}
