// One node's replicated state without a node around it: what tests of its rules begin with.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "node/mesh/registry.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

inline constexpr std::uint64_t kWall = 1'760'000'000'000;

struct Quiet final : StateObserver {
  void member_grew(crdt::NodeId, const crdt::Member&) override {}
  void field_grew(const net::FieldKey&) override {}
  void setting_grew(const net::SettingKey&) override {}
  void depth_grew() override {}
  void load_grew(crdt::NodeId, const net::LoadFeed::Delta&) override {}
  void health_grew(crdt::NodeId) override {}
  void status_grew(crdt::NodeId) override {}
  void placements_grew(const net::ResidencyFeed::Delta&) override {}
  void own_feed_grew(Urgency) override {}
};

inline crdt::Member alive(std::uint64_t epoch) {
  crdt::Member member;
  member.epoch = crdt::Epoch{epoch};
  return member;
}

// One node's state with itself as a member.
struct Replica {
  explicit Replica(std::uint64_t id, MeshConfig settings = {})
      : config(std::move(settings)), state({crdt::NodeId{id}, crdt::Epoch{kWall}}, config, quiet) {
    state.join_member(crdt::NodeId{id}, alive(kWall));
  }
  // Everything this replica has that `to` has not, by the real path but the wire.
  void send_to(Replica& to) {
    for (;;) {
      const auto batch = state.collect(acknowledged, {}, 1 << 20);
      for (const auto& delta : batch.deltas) {
        const auto at = to.state.apply(delta, state.self(), kWall);
        acknowledged.versions[static_cast<std::size_t>(at.kind)] = at.version;
      }
      if (batch.complete) return;
    }
  }
  MeshConfig config;
  Quiet quiet;
  SharedState state;
  Registry registry{state};
  Acknowledged acknowledged;  // by the one peer of these tests
};

inline SeedInstance seed(std::string name, std::string address) {
  return {std::move(name), std::move(address), {"m"}, 1.0};
}

inline std::vector<std::string> active_names(const Registry& registry) {
  std::vector<std::string> names;
  for (const auto& record : registry.records()) {
    if (record.lifecycle == policies::Lifecycle::active) names.push_back(record.name);
  }
  return names;
}

}  // namespace dualmesh::node
