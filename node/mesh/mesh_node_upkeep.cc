// What MeshNode does at its own pace: readiness, the state of the network and of its clock, expiry
// and collection.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "node/mesh/mesh_node.h"

namespace dualmesh::node {

ReadinessFacts MeshNode::readiness_facts() const {
  ReadinessFacts facts;
  facts.running = uptime();
  facts.draining = draining_;
  facts.was_ready = joined_;
  facts.any_other = peers_.any_other();
  facts.refused = peers_.refused();
  facts.name_in_use = peers_.name_in_use() || epoch_raises_ > kMaxEpochRaises;
  facts.refusal = peers_.last_refusal();
  facts.linked = peers_.linked();
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (node == state_.self().node || member.status != crdt::MemberStatus::alive) return;
    const MeshPeer* peer = peers_.find(node);
    if (peer == nullptr || !peer->synchronised) facts.waiting_for.push_back(member.name);
  });
  return facts;
}

// Who lives, for those who know caches; not before we know the members.
void MeshNode::note_living() {
  if (!knows_members_) return;
  std::vector<KvPeerLife> living;
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (node == state_.self().node || !member.reachable()) return;
    living.push_back({node, member.epoch, member.name});
  });
  courier_.living(std::move(living));
}

// Asked again soon, unless it says yes; and never before it has been told of every instance that we
// know.
bool MeshNode::kv_ready(std::string& why_not) {
  if (registry_stale_) publish_view();
  if (courier_.ready(why_not)) return true;
  if (!std::exchange(asking_kv_, true)) {
    tasks_.add(context_.after(std::chrono::milliseconds(100)).then([this]() {
      asking_kv_ = false;
      judge_ready();
    }));
  }
  return false;
}

void MeshNode::judge_ready() {
  if (!running_) return;
  ReadinessVerdict verdict = judge_readiness(config_, readiness_facts());
  if (verdict.ready && !joined_) {
    if (verdict.founder) {
      spdlog::warn("mesh: {}: no other node answered within {} ms; starting as the first of a mesh",
                   config_.node_name, config_.join_timeout_ms);
    }
    for (const std::string& name : verdict.unfinished) {
      spdlog::warn("mesh: {}: ready without the state of {}", config_.node_name, name);
    }
  }
  joined_ = verdict.ready;
  if (joined_) peers_.joined();
  if (joined_ && !std::exchange(knows_members_, true)) note_living();
  if (verdict.ready && !ready_) verdict.ready = kv_ready(verdict.why_not);
  if (told_ready_ && verdict.ready == ready_ && verdict.why_not == why_not_) return;
  told_ready_ = true;
  ready_ = verdict.ready;
  why_not_ = verdict.why_not;
  state_.set_status(StatusKey::ready, ready_ ? 1 : 0);
  host_.readiness_changed(ready_, why_not_);
}

policies::Time MeshNode::status_since(crdt::NodeId node) const {
  const auto known = status_since_.find(node);
  return known == status_since_.end() ? started_ : known->second.since;
}

PartitionState MeshNode::partition() const {
  std::size_t reachable = 0;
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    reachable += node == state_.self().node || member.reachable() ? 1 : 0;
  });
  return partition_.state(reachable);
}

void MeshNode::note_partition() {
  const auto known = [this](crdt::NodeId node) { return state_.members().find(node) != nullptr; };
  partition_.forget(context_.now(), known);
  std::erase_if(status_since_, [&](const auto& entry) { return !known(entry.first); });
  const PartitionState now = partition();
  if (now.unreachable == std::exchange(unreachable_told_, now.unreachable)) return;
  if (now.whole()) {
    spdlog::info("mesh: {}: all {} members are reachable again", config_.node_name, now.of);
  } else {
    spdlog::warn("mesh: {}: partitioned: {}", config_.node_name, describe(now, context_.now()));
  }
}

// A clock that was ahead and has been set right leaves words that nobody takes.
void MeshNode::note_clock() {
  const std::uint64_t wall_ms = context_.wall_ms();
  const auto ahead_ms = static_cast<std::int64_t>(wall_ms) -
                        static_cast<std::int64_t>(context_.monotonic_ns() / 1'000'000);
  if (!state_.clock_is_ahead(wall_ms)) {
    most_ahead_ms_ = ahead_ms;
    return;
  }
  most_ahead_ms_ = std::max(most_ahead_ms_, ahead_ms);
  if (!peers_.all_refuse(net::StreamKind::registry) &&
      !peers_.all_refuse(net::StreamKind::settings)) {
    return;
  }
  const auto back_ms = static_cast<std::uint64_t>(most_ahead_ms_ - ahead_ms);
  const std::size_t rows = state_.stamp_anew(wall_ms, back_ms);
  peers_.retry_refused();
  spdlog::warn(
      "mesh: {}: the clock was ahead and went back by {} s; {} changes to instances and "
      "settings made meanwhile are said again with the time of now",
      config_.node_name, back_ms / 1000, rows);
}

// In pieces, with a timer between them, so that pings come in between.
void MeshNode::expire_placements() {
  expiring_ = state_.expire_placements(context_.now());
  if (!expiring_) return;
  tasks_.add(context_.after(policies::Duration{0}).then([this]() { expire_placements(); }));
}

void MeshNode::housekeep() {
  note_partition();
  note_living();  // also without those who were forgotten
  note_clock();
  if (!expiring_) expire_placements();
  state_.expire_depth(context_.wall_ms());
  state_.collect_tombstones(peers_.lowest_acknowledged());
  collector_.tick();
  judge_ready();
}

}  // namespace dualmesh::node
