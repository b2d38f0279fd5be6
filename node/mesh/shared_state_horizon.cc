// Removed instances of the registry and the horizon below which they are forgotten.
#include <algorithm>

#include "net/error.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {
namespace {

constexpr auto kLifecycle = static_cast<std::uint8_t>(InstanceField::lifecycle);

// What a configuration or a look-up says has no time: it is neither collected nor too old.
bool is_timeless(crdt::Stamp stamp) { return stamp.writer == crdt::NodeId{}; }

}  // namespace

crdt::Stamp SharedState::horizon() const {
  const Horizon* held = registry_.find(kHorizonRow);
  return held == nullptr ? crdt::Stamp{} : held->stamp;
}

// The names that are removed and of which nobody has said anything after `horizon`.
std::set<std::string> SharedState::collectable(crdt::Stamp horizon) const {
  std::set<std::string> names;
  for (const auto& [name, in_use] : instance_names_) {
    if (!in_use) names.insert(name);
  }
  if (names.empty()) return names;
  registry_.for_each([&](const net::FieldKey& key, const Horizon& field) {
    if (is_timeless(field.stamp) || field.stamp > horizon) names.erase(key.instance);
  });
  return names;
}

bool SharedState::has_collectable(crdt::Stamp horizon) const {
  return !collectable(horizon).empty();
}

// A digest of what is said through `horizon` but for what is collected there: equal on two nodes
// exactly when they differ in newer words at most.
std::string SharedState::contents_through(crdt::Stamp horizon) const {
  const std::set<std::string> dropped = collectable(horizon);
  crdt::StateDigest digest;
  registry_.for_each([&](const net::FieldKey& key, const Horizon& field) {
    if (key == kHorizonRow || is_timeless(field.stamp) || field.stamp > horizon) return;
    if (dropped.contains(key.instance)) return;
    crdt::EntryHasher hasher;
    hash_entry(hasher, key, field);
    digest.add(hasher.finish());
  });
  return std::to_string(digest.count) + " " + std::to_string(digest.sum);
}

void SharedState::raise_horizon(crdt::Stamp horizon) {
  // What this node says from now on is said after it, though its clock be set back.
  clock_.observe(horizon, horizon.wall_ms());
  adopt({horizon, contents_through(horizon)}, crdt::NodeId{});
}

void SharedState::horizon_told(const Horizon& told, crdt::NodeId source) {
  Horizon held;
  if (const Horizon* known = registry_.find(kHorizonRow)) held = *known;
  if (!held.join(told)) return;
  if (told.value == contents_through(told.stamp)) return adopt(told, source);
  if (!behind_ || behind_->horizon <= told.stamp) behind_ = {told.stamp, source};
}

void SharedState::adopt(const Horizon& horizon, crdt::NodeId source) {
  if (behind_ && behind_->horizon <= horizon.stamp) behind_.reset();
  const std::set<std::string> names = collectable(horizon.stamp);
  registry_.forget_if([&](const net::FieldKey& key, const Horizon&) {
    return key != kHorizonRow && names.contains(key.instance);
  });
  counters_.collected += names.size();
  count_names();
  join_field(kHorizonRow, horizon, source);
}

void SharedState::count_names() {
  instance_names_.clear();
  instances_in_use_ = 0;
  registry_.for_each([this](const net::FieldKey& key, const Horizon& field) {
    if (key == kHorizonRow) return;
    bool& in_use = instance_names_[key.instance];
    if (key.field != kLifecycle) return;
    in_use = field.value != "removed";
    instances_in_use_ += in_use ? 1 : 0;
  });
}

SharedState::RegistryRows SharedState::registry_rows(const net::FieldKey& first,
                                                     std::size_t max_bytes) const {
  constexpr std::size_t kRowBytes = 72;
  RegistryRows rows;
  std::size_t bytes = 0;
  registry_.for_each_from(first, [&](const net::FieldKey& key, const Horizon& field) {
    rows.push_back({key, field});
    bytes += kRowBytes + key.instance.size() + field.value.size();
    return bytes < max_bytes;
  });
  return rows;
}

void SharedState::restore_registry(const RegistryRows& rows, std::uint64_t wall_ms) {
  for (const auto& row : rows) {
    if (admit_of_any_age(row, wall_ms)) join_field(row.key, row.value);
  }
}

void SharedState::take_registry(const RegistryRows& rows, crdt::NodeId source,
                                std::uint64_t wall_ms) {
  Horizon told;
  for (const auto& row : rows) {
    if (row.key == kHorizonRow && admit_of_any_age(row, wall_ms)) told = row.value;
  }
  if (told.stamp < horizon()) return;  // ours has risen since we asked
  // Half a registry would drop names of which the other half says that they are in use.
  const auto refused = [&](const auto& row) { return !clock_.accepts(row.value.stamp, wall_ms); };
  if (std::any_of(rows.begin(), rows.end(), refused)) return ++counters_.far_future, void();
  std::map<net::FieldKey, Horizon> theirs;
  for (const auto& row : rows) {
    if (row.key != kHorizonRow) theirs[row.key] = row.value;
  }
  if (told.stamp > horizon()) {
    ++counters_.registries_taken;
    // Through their horizon only what they hold counts, also against later words of ours.
    registry_.forget_if([&](const net::FieldKey& key, const Horizon& field) {
      if (key == kHorizonRow || is_timeless(field.stamp) || field.stamp > told.stamp) return false;
      const auto held = theirs.find(key);
      return held == theirs.end() || held->second.stamp < field.stamp;
    });
    count_names();
  }
  for (const auto& [key, field] : theirs) {
    if (admit_of_any_age({key, field}, wall_ms)) join_field(key, field, source);
  }
  if (told.stamp > horizon()) adopt(told, source);
}

}  // namespace dualmesh::node
