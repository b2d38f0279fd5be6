// Words that this node wrote while its clock was ahead, once the clock has been set right.
//
// Others refuse what is stamped too far in their future, so such words would wait until that time
// has come. Nobody else holds them, hence they may be stamped anew: earlier by as much as the clock
// went back, which is when they were really written, and never later than now.
#include <algorithm>
#include <vector>

#include "node/mesh/shared_state.h"

namespace dualmesh::node {
namespace {

constexpr int kCounterBits = 16;  // of a stamp's time

bool is_ahead(std::uint64_t time, std::uint64_t wall_ms) {
  return (time >> kCounterBits) > wall_ms + crdt::HybridClock::kMaxAheadMs;
}

}  // namespace

bool SharedState::clock_is_ahead(std::uint64_t wall_ms) const {
  return is_ahead(clock_.last().time, wall_ms);
}

std::size_t SharedState::stamp_anew(std::uint64_t wall_ms, std::uint64_t back_ms) {
  const std::uint64_t now = wall_ms << kCounterBits;
  RegistryRows fields;
  std::vector<net::SettingsTable::Entry> settings;
  // Nothing is collected through a time that has not come.
  registry_.forget_if([&](const net::FieldKey& key, const Horizon& field) {
    return key == kHorizonRow && is_ahead(field.stamp.time, wall_ms);
  });
  clock_ = crdt::HybridClock(self_.node);
  registry_.for_each([&](const net::FieldKey& key, const Horizon& field) {
    if (is_ahead(field.stamp.time, wall_ms)) return fields.push_back({key, field});
    clock_.observe(field.stamp, wall_ms);
  });
  settings_.for_each([&](const net::SettingKey& key, const crdt::MultiValue<std::string>& held) {
    bool ahead = false;
    for (const auto& [writer, time] : held.seen()) {
      if (is_ahead(time, wall_ms))
        ahead = true;
      else
        clock_.observe({time, writer}, wall_ms);
    }
    if (ahead) settings.push_back({key, held});
  });

  for (auto& [key, field] : fields) {
    const std::uint64_t written =
        field.stamp.time - std::min(field.stamp.time, back_ms << kCounterBits);
    field.stamp.time = std::max(std::min(written, now), horizon().time + 1);
    registry_.replace(key, field);
    observer_.field_grew(key);
  }
  for (const auto& [key, held] : settings) {
    crdt::MultiValue<std::string>::Siblings siblings;
    crdt::MultiValue<std::string>::Seen seen;
    for (const auto& [writer, time] : held.seen())
      seen[writer] = is_ahead(time, wall_ms) ? now : time;
    for (const auto& sibling : held.siblings()) {  // concurrent ones in their order
      siblings.push_back(sibling);
      if (is_ahead(sibling.dot.time, wall_ms)) siblings.back().dot = clock_.now(wall_ms);
    }
    settings_.replace(key, crdt::MultiValue<std::string>::restore(siblings, seen));
    observer_.setting_grew(key);
  }
  return fields.size() + settings.size();
}

}  // namespace dualmesh::node
