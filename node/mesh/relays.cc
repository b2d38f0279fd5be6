#include "node/mesh/relays.h"

#include <algorithm>
#include <utility>

namespace dualmesh::node {
namespace {

// The linked node after `before` in the order of ids, `writer` left out.
std::optional<crdt::NodeId> next_of(const Relays::Nodes& linked, crdt::NodeId writer,
                                    std::optional<crdt::NodeId> before) {
  auto at = before ? linked.upper_bound(*before) : linked.upper_bound(writer);
  for (std::size_t tried = 0; tried <= linked.size(); ++tried) {
    if (at == linked.end()) at = linked.begin();
    if (at == linked.end()) return {};
    if (*at != writer) return *at;
    ++at;
  }
  return {};
}

}  // namespace

void Relays::told(crdt::NodeId writer, Time now) {
  auto entry = writers_.find(writer);
  if (entry != writers_.end()) entry->second.told = now;
}

void Relays::relayed(crdt::NodeId relay, const std::vector<crdt::NodeId>& writers, Time now) {
  for (const crdt::NodeId writer : writers) {
    auto entry = writers_.find(writer);
    if (entry != writers_.end() && entry->second.relay == relay) entry->second.relayed = now;
  }
}

void Relays::tick(const Nodes& living, const Nodes& linked, Time now) {
  std::erase_if(writers_, [&](const auto& entry) { return !living.contains(entry.first); });
  const policies::Duration slept = now - std::exchange(last_tick_, now);
  if (slept >= silence_) {
    for (auto& [node, writer] : writers_) {
      for (Time* at : {&writer.told, &writer.relayed, &writer.asked})
        *at = std::min(*at + slept, now);
    }
  }
  for (const crdt::NodeId node : living) {
    auto [entry, added] = writers_.try_emplace(node);
    Writer& writer = entry->second;
    if (added) writer.told = now;  // whoever has just come is given the time to speak
    if (now - writer.told < silence_) {
      writer.relay.reset();
      continue;
    }
    const bool useless = !writer.relay || !linked.contains(*writer.relay) ||
                         now - std::max(writer.relayed, writer.asked) >= silence_;
    if (!useless) continue;
    writer.relay = next_of(linked, node, writer.relay);
    writer.asked = now;
  }
}

std::vector<crdt::NodeId> Relays::wanted_of(crdt::NodeId relay) const {
  std::vector<crdt::NodeId> wanted;
  for (const auto& [node, writer] : writers_) {
    if (writer.relay == relay) wanted.push_back(node);
  }
  return wanted;
}

bool Relays::hears(crdt::NodeId writer, Time now) const {
  auto entry = writers_.find(writer);
  return entry != writers_.end() && now - entry->second.told < silence_;
}

std::optional<crdt::NodeId> Relays::relay_of(crdt::NodeId writer) const {
  auto entry = writers_.find(writer);
  return entry == writers_.end() ? std::nullopt : entry->second.relay;
}

Relays::Nodes Relays::unheard(Time now) const {
  Nodes out;
  for (const auto& [node, writer] : writers_) {
    if (now - std::max(writer.told, writer.relayed) > 2 * silence_) out.insert(node);
  }
  return out;
}

}  // namespace dualmesh::node
