#include "node/mesh/shared_state.h"

#include "net/error.h"
#include "node/mesh/planted.h"

namespace dualmesh::node {
namespace {

constexpr std::uint64_t kExpiredAtOnce = 8'192;  // placements, or of one prompt if it has more

}  // namespace

SharedState::SharedState(crdt::Origin self, const MeshConfig& config, StateObserver& observer)
    : self_(self), config_(config), observer_(observer), clock_(self.node) {}

void SharedState::raise_epoch(crdt::Epoch epoch) {
  DUALMESH_CHECK(epoch > self_.epoch, "epoch={} was={}", epoch.value, self_.epoch.value);
  crdt::Member member = self_member();
  self_.epoch = epoch;
  member.epoch = epoch;
  member.refutations = 0;

  auto again = [](auto& feed) {
    std::remove_reference_t<decltype(feed)> fresh;
    feed.for_each([&](const auto& key, const auto& value) { fresh.put(key, value); });
    feed = std::move(fresh);
  };
  again(own_load_);
  again(own_health_);
  again(own_status_);
  net::ResidencyFeed residency;
  std::deque<std::pair<policies::Time, crdt::Version>> placed;
  auto issued = placed_.begin();
  own_residency_.for_each([&](const net::PlacementKey& key, crdt::Version version) {
    while (issued->second < version) ++issued;
    const crdt::Version fresh = residency.touch(key);
    if (placed.empty() || placed.back().first != issued->first)
      placed.emplace_back(issued->first, fresh);
    placed.back().second = fresh;
  });
  own_residency_ = std::move(residency);
  placed_ = std::move(placed);
  join_member(self_.node, member);
}

crdt::Stamp SharedState::stamp(std::uint64_t wall_ms) {
  if (planted(Plant::clock_goes_back)) clock_ = crdt::HybridClock(self_.node);
  return clock_.now(wall_ms);
}

bool SharedState::join_member(crdt::NodeId node, const crdt::Member& member, crdt::NodeId source) {
  const crdt::Member* known = members_.find(node);
  if (known == nullptr && members_.size() >= config_.max_members) {
    const auto oldest = evictable_for(member);
    if (!oldest) return ++counters_.over_bounds, false;
    members_.forget_if([&](crdt::NodeId id, const crdt::Member&) { return id == *oldest; });
    received_.erase(*oldest);
  }
  const crdt::Epoch before = known == nullptr ? crdt::Epoch{} : known->epoch;
  if (!members_.join(node, member, source)) return false;
  const crdt::Member grown = *members_.find(node);
  // A new life says nothing until it has something to say; the old one's words end here.
  const bool ended = !grown.reachable() && !planted(Plant::keep_columns_of_dead);
  const bool replaced = grown.epoch != before && !planted(Plant::keep_columns_of_old_life);
  if (ended || replaced) drop_columns(node);
  observer_.member_grew(node, grown);
  return true;
}

bool SharedState::join_field(const net::FieldKey& key, const crdt::LastWriter<std::string>& value,
                             crdt::NodeId source) {
  if (!registry_.join(key, value, source)) return false;
  if (key == kHorizonRow) return observer_.field_grew(key), true;
  bool& in_use = instance_names_[key.instance];
  if (key.field == static_cast<std::uint8_t>(InstanceField::lifecycle)) {
    instances_in_use_ -= in_use ? 1 : 0;
    in_use = registry_.find(key)->value != "removed";
    instances_in_use_ += in_use ? 1 : 0;
  }
  observer_.field_grew(key);
  return true;
}

bool SharedState::has_room_for(const std::string& instance) const {
  const auto known = instance_names_.find(instance);
  const bool in_use = known != instance_names_.end() && known->second;
  return in_use || instances_in_use_ < config_.max_instances;
}

bool SharedState::join_setting(const net::SettingKey& key,
                               const crdt::MultiValue<std::string>& value, crdt::NodeId source) {
  if (!settings_.join(key, value, source)) return false;
  observer_.setting_grew(key);
  return true;
}

void SharedState::mark_depth(std::uint64_t bucket, std::uint64_t prefix, std::uint32_t deeper) {
  const net::DepthKey key{bucket, prefix};
  if (depth_.size() >= config_.depth_max_marks && depth_.find(key) == nullptr) {
    ++counters_.over_bounds;
    return;
  }
  if (depth_.join(key, crdt::Max<std::uint32_t>{deeper})) observer_.depth_grew();
}

void SharedState::set_load(std::uint64_t instance, const net::LoadGauges& gauges,
                           Urgency urgency) {
  const bool changed =
      gauges == net::LoadGauges{} ? own_load_.erase(instance) : own_load_.put(instance, gauges);
  if (changed) observer_.own_feed_grew(urgency);
}

void SharedState::set_health(std::uint64_t instance, bool healthy) {
  if (own_health_.put(instance, net::ProbedHealth{healthy})) {
    observer_.own_feed_grew(Urgency::paced);
  }
}

void SharedState::set_status(StatusKey key, std::uint64_t value) {
  const bool changed = own_status_.put(static_cast<std::uint8_t>(key), net::StatusNumber{value});
  if (changed) observer_.own_feed_grew(Urgency::paced);
}

void SharedState::place(std::uint64_t instance, std::span<const std::uint64_t> blocks,
                        policies::Time now) {
  if (blocks.empty()) return;
  crdt::Version last;
  // From the back, as the index does: the beginning of a prompt is the last of it to go.
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    last = own_residency_.touch(net::PlacementKey{instance, *block});
  }
  placed_.emplace_back(now, last);
  while (own_residency_.size() > config_.max_placements && !planted(Plant::placements_unbounded)) {
    own_residency_.expire(placed_.front().second);
    placed_.pop_front();
  }
  observer_.own_feed_grew(Urgency::slight);
}

void SharedState::forget_placements() {
  if (placed_.empty()) return;
  own_residency_.expire(placed_.back().second);
  placed_.clear();
  observer_.own_feed_grew(Urgency::slight);
}

bool SharedState::expire_placements(policies::Time now) {
  const policies::Time oldest = now - std::chrono::seconds(config_.placement_ttl_s);
  const auto due = [&] { return !placed_.empty() && placed_.front().first < oldest; };
  if (!due()) return false;
  const std::uint64_t most = own_residency_.floor().value + kExpiredAtOnce;
  crdt::Version through;
  do {
    through = placed_.front().second;
    placed_.pop_front();
  } while (due() && placed_.front().second.value <= most);
  own_residency_.expire(through);
  observer_.own_feed_grew(Urgency::slight);
  return due();
}

void SharedState::expire_depth(std::uint64_t wall_ms) {
  const std::uint64_t bucket = depth_bucket(wall_ms);
  // Also what lies too far ahead for others to take it: marked before our clock was set back.
  const std::size_t dropped = depth_.forget_if([&](const net::DepthKey& key, const auto&) {
    const crdt::BucketAge age = kDepthWindow.age_of(key.bucket, bucket);
    return age == crdt::BucketAge::expired ||
           (age == crdt::BucketAge::too_early && !planted(Plant::ahead_kept));
  });
  if (dropped > 0) observer_.depth_grew();
}

bool SharedState::has_room_for(crdt::NodeId node, const crdt::Member& member) const {
  return members_.find(node) != nullptr || members_.size() < config_.max_members ||
         evictable_for(member).has_value();
}

// By epoch and not by when we heard of it, so that all nodes with the same records keep the same.
std::optional<crdt::NodeId> SharedState::evictable_for(const crdt::Member& newcomer) const {
  std::optional<std::pair<crdt::Epoch, crdt::NodeId>> oldest;
  members_.for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (member.reachable() || node == self_.node) return;
    const std::pair age{member.epoch, node};
    if (!oldest || age < *oldest) oldest = age;
  });
  if (!oldest || (!newcomer.reachable() && newcomer.epoch <= oldest->first)) return {};
  return oldest->second;
}

void SharedState::collect_tombstones(const Acknowledged& lowest) {
  own_load_.collect(lowest.versions[static_cast<std::size_t>(net::StreamKind::load)]);
  own_health_.collect(lowest.versions[static_cast<std::size_t>(net::StreamKind::health)]);
}

void SharedState::drop_columns(crdt::NodeId node) {
  loads_.drop(node);
  healths_.drop(node);
  statuses_.drop(node);
  residencies_.drop(node);
}

}  // namespace dualmesh::node
