#include "node/mesh/registry_collector.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>

#include "net/mesh_codec.h"
#include "node/mesh/planted.h"

namespace dualmesh::node {

void RegistryCollector::tick() {
  if (asking_) return;
  if (!state_.behind_horizon()) return raise();
  taken_.clear();
  ask(state_.behind_horizon()->told_by, {});
}

void RegistryCollector::raise() {
  const std::uint64_t wall_ms = context_.wall_ms();
  const std::uint64_t horizon_ms = 1'000 * std::uint64_t{context_.config.collection_horizon_s};
  if (wall_ms <= horizon_ms) return;
  const crdt::Stamp horizon{(wall_ms - horizon_ms) << 16, state_.self().node};
  if (horizon <= state_.horizon() || !all_hold_ours() || !state_.has_collectable(horizon)) return;
  state_.raise_horizon(horizon);
}

// And is it for us to say so: nobody with a lower id lives, and most do.
bool RegistryCollector::all_hold_ours() const {
  bool all = true;
  std::size_t living = 0;
  std::size_t known = 0;
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    living += member.reachable() ? 1 : 0;
    known += member.reachable() || counts_as_dead(node, member) ? 1 : 0;
    if (node == state_.self().node || !member.reachable()) return;
    const MeshPeer* peer = peers_.find(node);
    all = all && node > state_.self().node && peer != nullptr && peer->link != nullptr &&
          std::abs(peer->clock_offset_ms) <= crdt::HybridClock::kMaxAheadMs &&
          (peer->same_registry == state_.registry().version() || planted(Plant::collects_unasked));
  });
  return all && 2 * living > known && peers_.met_most_seeds();
}

bool RegistryCollector::counts_as_dead(crdt::NodeId node, const crdt::Member& member) const {
  return member.status == crdt::MemberStatus::dead &&
         context_.now() - status_since_(node) <= std::chrono::seconds(context_.config.dead_count_s);
}

void RegistryCollector::ask(crdt::NodeId node, const net::FieldKey& first) {
  const MeshPeer* peer = peers_.find(node);
  // Its digest differs from ours: when it is linked again, it tells us again.
  if (peer == nullptr || peer->link == nullptr) return state_.forget_behind();
  asking_ = true;
  auto request = peer->link->peer().registryRequest();
  request.setInstance(first.instance);
  request.setField(first.field);
  tasks_.add(
      context_.timer
          .timeoutAfter(context_.config.call_timeout_ms * kj::MILLISECONDS,
                        request.send().then([](auto&& response) { return kj::mv(response); }))
          .then([this, node](auto&& response) {
            auto rows = net::read_registry(response.getRows());
            KJ_REQUIRE(rows.has_value(), rows.error().message);
            answered(node, std::move(*rows));
          }));
}

void RegistryCollector::answered(crdt::NodeId node, SharedState::RegistryRows rows) {
  asking_ = false;
  const std::size_t most = 8 * kNamesPerInstance * std::size_t{context_.config.max_instances};
  if (taken_.size() + rows.size() > most) return state_.forget_behind();
  taken_.insert(taken_.end(), rows.begin(), rows.end());
  if (!rows.empty()) {
    net::FieldKey next = rows.back().key;
    if (next.field == 255) {
      next = {next.instance + '\0', 0};
    } else {
      ++next.field;
    }
    return ask(node, next);
  }
  spdlog::warn("mesh: {}: the registry was collected while this node was away; took {} rows",
               context_.config.node_name, taken_.size());
  state_.take_registry(taken_, node, context_.wall_ms());
  state_.forget_behind();
  taken_.clear();
}

void RegistryCollector::taskFailed(kj::Exception&& exception) {
  asking_ = false;
  state_.forget_behind();
  spdlog::warn("mesh: {}: no registry from a peer: {}", context_.config.node_name,
               exception.getDescription().cStr());
}

}  // namespace dualmesh::node
