// What SharedState takes into its tables from others, and what it refuses and counts.
#include "net/mesh_codec.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {
namespace {

// Whoever writes the registry stops at max_instances. What others wrote is taken up to twice as
// many, because of commands given at several nodes at once: refusing one would leave the tables
// different for good.
constexpr std::size_t kWritersBeyond = 2;

constexpr std::size_t kSettings = 256;

}  // namespace

bool SharedState::admit(const net::MembershipTable::Entry& row, std::uint64_t wall_ms) {
  if (row.value.epoch.value > wall_ms + kMaxEpochAheadMs) return ++counters_.far_future, false;
  return true;  // join_member counts what is too many
}

// Who holds a horizon has seen everything through it; what then still comes is of a node that was
// away for too long, or has been collected.
bool SharedState::admit(const net::RegistryTable::Entry& row, std::uint64_t wall_ms) {
  const auto* held = registry_.find(row.key);
  const bool news = held == nullptr || held->stamp < row.value.stamp;
  if (news && row.key != kHorizonRow && row.value.stamp.writer != crdt::NodeId{} &&
      row.value.stamp <= horizon()) {
    return ++counters_.below_horizon, false;
  }
  return admit_of_any_age(row, wall_ms);
}

bool SharedState::admit_of_any_age(const net::RegistryTable::Entry& row, std::uint64_t wall_ms) {
  if (!clock_.observe(row.value.stamp, wall_ms)) return ++counters_.far_future, false;
  if (row.key == kHorizonRow) return true;
  const auto known = instance_names_.find(row.key.instance);
  const bool brings_into_use =
      row.key.field == static_cast<std::uint8_t>(InstanceField::lifecycle) &&
      row.value.value != "removed" && (known == instance_names_.end() || !known->second);
  const std::size_t limit = config_.max_instances;
  if ((brings_into_use && instances_in_use_ >= kWritersBeyond * limit) ||
      (known == instance_names_.end() && instance_names_.size() >= kNamesPerInstance * limit)) {
    return ++counters_.over_bounds, false;
  }
  return true;
}

bool SharedState::admit(const net::SettingsTable::Entry& row, std::uint64_t wall_ms) {
  crdt::MultiValue<std::string> joined = row.value;
  if (const auto* held = settings_.find(row.key)) {
    joined.join(*held);
  } else if (settings_.size() >= kSettings) {
    return ++counters_.over_bounds, false;
  }
  if (joined.siblings().size() > net::CodecLimits::kSiblings ||
      joined.seen().size() > net::CodecLimits::kSettingWriters) {
    return ++counters_.over_bounds, false;
  }
  for (const auto& [writer, time] : row.value.seen()) {  // covers the dots of the siblings
    if (!clock_.observe({time, writer}, wall_ms)) return ++counters_.far_future, false;
  }
  return true;
}

bool SharedState::admit(const net::DepthTable::Entry& row, std::uint64_t wall_ms) {
  const crdt::BucketAge age = kDepthWindow.age_of(row.key.bucket, depth_bucket(wall_ms));
  if (age == crdt::BucketAge::too_early) return ++counters_.far_future, false;
  if (age == crdt::BucketAge::expired) return false;  // on its way
  if (depth_.size() >= 4 * std::size_t{config_.depth_max_marks}) {
    return ++counters_.over_bounds, false;
  }
  return true;
}

}  // namespace dualmesh::node
