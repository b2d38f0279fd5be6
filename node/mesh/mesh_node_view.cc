// The half of MeshNode that faces the request path: local changes in, views and placements out.
#include <spdlog/spdlog.h>
#include <xxhash.h>

#include "node/mesh/load_gauges.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kPlacementBatch = 1'024;
constexpr std::size_t kRowsPerTurn = 8'192;  // of a column, so that pings come in between
constexpr std::size_t kRingChangesKept = 1'024;
constexpr std::size_t kBeaconsKept = 4'096;

// `blocks` in the order of use, oldest first: so go the batches, each with its most recent block
// first, as whoever placed them saw it.
void hand_over(MeshHost& host, policies::Slot slot, std::vector<policies::BlockKey>& blocks) {
  const std::span<policies::BlockKey> all(blocks);
  for (std::size_t at = 0; at < all.size(); at += kPlacementBatch) {
    const auto batch = all.subspan(at, std::min(kPlacementBatch, all.size() - at));
    std::reverse(batch.begin(), batch.end());
    host.placements_learned(slot, batch);
  }
}

}  // namespace

// In a sustained stream of changes it looks again when their time comes, until there are none: one
// wake-up for each taking, and not two.
void MeshNode::take_local_changes() {
  if (taking_) taking_(true);
  LocalChanges changes;
  host_.take_local_changes(changes);
  if (changes.any() || !looks_again_) local_pacer_.acted(context_.now());
  looks_again_ = changes.any() && local_pacer_.is_slowest();
  if (looks_again_) {
    if (taking_) taking_(false);
    take_local_changes_at(next_taking());
  }
  const auto& instances = builder_.instances();
  const auto id_of = [&](policies::Slot slot) {
    return slot < instances.size() ? instances[slot].id : kBeaconInstance;
  };
  for (const auto& [slot, load] : changes.loads) {
    if (const auto id = id_of(slot); id != kBeaconInstance) set_load(slot, id, to_gauges(load));
  }
  for (const auto& [slot, healthy] : changes.health) {
    if (const auto id = id_of(slot); id != kBeaconInstance) state_.set_health(id, healthy);
  }
  for (const LocalPlacement& placement : changes.placements) {
    const auto id = id_of(placement.slot);
    if (id != kBeaconInstance) state_.place(id, placement.blocks, context_.now());
  }
  if (view_ != nullptr && view_->live_nodes > 1) {
    const std::uint64_t bucket = state_.depth_bucket(context_.wall_ms());
    for (const auto& mark : changes.depth) state_.mark_depth(bucket, mark.key, mark.deeper);
  }
}

// Whoever waits, here or at another node, waits for word of it.
void MeshNode::set_load(policies::Slot slot, policies::InstanceId id,
                        const net::LoadGauges& gauges) {
  static const net::LoadGauges kNothing;
  const net::LoadGauges* told = state_.own_load().find(id);
  const bool awaited = view_ == nullptr || slot >= view_->instances.size() ||
                       view_->instances[slot].others_queueing > 0;
  const bool slight = !awaited && slight_change(told == nullptr ? kNothing : *told, gauges);
  state_.set_load(id, gauges, slight ? Urgency::slight : Urgency::paced);
}

void MeshNode::view_stale() {
  if (view_waiting_ || !running_) return;
  view_waiting_ = true;
  // Not in this turn even when due: what arrives in one push makes one view.
  const policies::Duration wait = view_pacer_.next() - context_.now();
  auto due = wait.count() > 0 ? context_.after(wait) : kj::Promise<void>(kj::READY_NOW);
  tasks_.add(due.then([this]() {
    view_waiting_ = false;
    publish_view();
  }));
}

void MeshNode::publish_view() {
  view_pacer_.acted(context_.now());
  std::vector<policies::InstanceId> first_seen;
  if (registry_stale_) {
    registry_stale_ = false;
    first_seen = builder_.read_registry(registry_);
  }
  const auto before = view_;
  view_ = builder_.build(state_, state_.depth_bucket(context_.wall_ms()), context_.now(),
                         peers_.unheard());
  ++views_published_;
  std::map<crdt::NodeId, std::uint64_t> beacons;
  beacons.swap(beacons_pending_);
  note_generation(before.get(), *view_);
  host_.view_changed(view_);

  const std::uint64_t at_ns = context_.monotonic_ns();
  for (const auto& [node, value] : beacons) beacons_.push_back({node, value, at_ns});
  while (beacons_.size() > kBeaconsKept) beacons_.pop_front();
  if (before == nullptr || before->ring_digest != view_->ring_digest) {
    ring_changes_.push_back({view_->ring_digest, at_ns});
    if (ring_changes_.size() > kRingChangesKept) ring_changes_.pop_front();
    disagreeing_since_ = context_.now();
  }
  note_view(*view_);
  seen_first(first_seen);
}

// What was hashed by other parameters matches nothing any more.
void MeshNode::note_generation(const policies::FleetView* before, const policies::FleetView& now) {
  const policies::RoutingParameters own = configured_parameters(config_);
  if (now.parameters == (before == nullptr ? own : before->parameters)) return;
  if (before != nullptr) state_.forget_placements();
  spdlog::info("mesh: {}: routing by ring generation {} now", config_.node_name,
               now.parameters.generation);
  if (now.parameters == own) return;
  spdlog::warn("mesh: {}: its configuration says ring generation {}{}; make it that of the mesh",
               config_.node_name, own.generation,
               own.generation == now.parameters.generation ? ", with other parameters" : "");
}

// Says in our status what we route by now, and measures how long the mesh took to agree.
void MeshNode::note_view(const policies::FleetView& view) {
  if (disagreeing_since_ && view.rings_agree) {
    if (view.live_nodes > 1) agreement_.record(to_ms(context_.now() - *disagreeing_since_));
    disagreeing_since_.reset();
  } else if (!disagreeing_since_ && !view.rings_agree) {
    disagreeing_since_ = context_.now();
  }
  state_.set_status(StatusKey::ring_digest, view.ring_digest);
  state_.set_status(StatusKey::ring_generation, view.parameters.generation);
  state_.set_status(StatusKey::depth_digest, view.depth ? view.depth->digest : 0);
  state_.set_status(StatusKey::registry_digest, state_.registry_digest());
  state_.set_status(StatusKey::policy,
                    XXH3_64bits(view.settings.policy.data(), view.settings.policy.size()));
}

void MeshNode::placements_grew(const net::ResidencyFeed::Delta& delta) {
  std::map<std::uint64_t, std::vector<policies::BlockKey>> by_instance;
  for (const auto& row : delta.entries) by_instance[row.key.instance].push_back(row.key.block);
  for (auto& [instance, blocks] : by_instance) {
    const policies::Slot slot = builder_.slot_of(instance);
    if (slot == policies::kNoSlot) {
      if (without_slot_.size() < config_.max_instances) without_slot_.insert(instance);
      continue;
    }
    hand_over(host_, slot, blocks);
  }
}

// Placements that arrived before their instance was known.
void MeshNode::seen_first(const std::vector<policies::InstanceId>& instances) {
  for (const policies::InstanceId instance : instances) {
    if (without_slot_.erase(instance) == 0) continue;
    for (const auto& [node, column] : state_.residencies().all()) {
      hand_over_column({node, column.epoch}, instance, column.feed.floor());
    }
  }
}

// A column in pieces, up to where its feed is by then: what came meanwhile is told once more, and
// so everything in the order of use. A timer between them, because the loop looks at its sockets
// only when nothing else is left to do.
void MeshNode::hand_over_column(crdt::Origin writer, policies::InstanceId instance,
                                crdt::Version from) {
  tasks_.add(context_.after(policies::Duration{0}).then([this, writer, instance, from]() {
    const auto* held = state_.residencies().find(writer.node);
    if (held == nullptr || held->epoch != writer.epoch) return;
    const auto piece = held->feed.delta_since(from, kRowsPerTurn);
    std::vector<policies::BlockKey> blocks;
    for (const auto& row : piece.entries) {
      if (row.key.instance == instance) blocks.push_back(row.key.block);
    }
    hand_over(host_, builder_.slot_of(instance), blocks);
    if (piece.to < held->feed.version()) hand_over_column(writer, instance, piece.to);
  }));
}

}  // namespace dualmesh::node
