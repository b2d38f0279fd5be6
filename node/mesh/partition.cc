#include "node/mesh/partition.h"

#include <fmt/format.h>

#include <algorithm>

namespace dualmesh::node {

std::string describe(const PartitionState& state, policies::Time now) {
  if (state.whole()) return "";
  std::string text = fmt::format(
      "{} of {} members unreachable since {:.0f} s, dead or cut off, which look alike "
      "from here; commands given here reach them once they are back",
      state.unreachable, state.of, policies::to_seconds(now - state.since));
  if (!state.has_majority()) text += "; this side has no majority";
  return text;
}

void Partition::learned(crdt::NodeId node, const crdt::Member& member, policies::Time now) {
  if (member.status == crdt::MemberStatus::dead) {
    unreachable_.try_emplace(node, now);
  } else {
    unreachable_.erase(node);
  }
}

PartitionState Partition::state(std::size_t reachable) const {
  PartitionState state;
  state.unreachable = unreachable_.size();
  state.of = unreachable_.size() + reachable;
  const auto first =
      std::min_element(unreachable_.begin(), unreachable_.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (first != unreachable_.end()) state.since = first->second;
  return state;
}

}  // namespace dualmesh::node
