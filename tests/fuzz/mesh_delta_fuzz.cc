// Bytes as a Cap'n Proto message -> codec -> a node's shared state: whatever a peer sends, the
// state stays usable and says where it is.
#include <capnp/serialize.h>

#include <cstring>

#include "net/mesh_codec.h"
#include "node/mesh/shared_state.h"

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

crdt::Member alive(std::uint64_t epoch) {
  crdt::Member member;
  member.epoch = crdt::Epoch{epoch};
  return member;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::size_t words = size / sizeof(capnp::word);
  auto message = kj::heapArray<capnp::word>(words);
  std::memcpy(message.begin(), data, words * sizeof(capnp::word));

  node::MeshConfig config;
  Ignore ignore;
  node::SharedState state({crdt::NodeId{1}, crdt::Epoch{kWallMs}}, config, ignore);
  state.join_member(crdt::NodeId{1}, alive(kWallMs));
  state.join_member(crdt::NodeId{2}, alive(kWallMs));
  try {
    capnp::ReaderOptions limits;
    limits.traversalLimitInWords = 1 << 20;
    limits.nestingLimit = 16;
    capnp::FlatArrayMessageReader reader(message, limits);
    auto delta = net::read_delta(reader.getRoot<wire::Delta>());
    if (!delta) return 0;
    const crdt::Origin sender = delta->origin;
    state.join_member(sender.node, alive(sender.epoch.value));
    state.apply(*delta, sender, kWallMs);
    state.apply(*delta, sender, kWallMs);  // a repeat changes nothing and breaks nothing
  } catch (const kj::Exception&) {
    return 0;  // Cap'n Proto refused the message itself
  }
  const auto root = state.root();
  state.expire_placements(policies::Time{1});
  state.expire_depth(kWallMs);
  if (state.root() != root) __builtin_trap();
  state.collect({}, {}, 64 * 1024);
  return 0;
}
