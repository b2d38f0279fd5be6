#include "node/mesh/failure_detector.h"

#include <algorithm>

namespace dualmesh::node {

using crdt::MemberStatus;
using std::chrono::milliseconds;

FailureDetector::FailureDetector(const MeshConfig& config)
    : interval_(milliseconds(config.ping_interval_ms)),
      silence_(
          milliseconds(std::uint64_t{config.suspect_after_misses - 1} * config.ping_interval_ms +
                       config.ping_timeout_ms)),
      suspicion_(milliseconds(config.suspicion_ms)) {}

void FailureDetector::status(crdt::NodeId node, MemberStatus status, policies::Time now) {
  if (status == MemberStatus::dead || status == MemberStatus::left) {
    watched_.erase(node);
    return;
  }
  auto [entry, added] = watched_.try_emplace(node);
  Watched& watched = entry->second;
  if (added) watched.heard = now;  // the benefit of the doubt
  if (status == MemberStatus::suspect && watched.status != MemberStatus::suspect) {
    watched.suspected = now;
  }
  if (status == MemberStatus::alive && watched.status == MemberStatus::suspect) {
    // It refuted, so it lives, even if we heard of that through others.
    watched.heard = std::max(watched.heard, now);
  }
  watched.status = status;
}

void FailureDetector::heard(crdt::NodeId node, policies::Time now) {
  auto entry = watched_.find(node);
  if (entry != watched_.end()) entry->second.heard = now;
}

bool FailureDetector::probe_answered(crdt::NodeId node, bool reached, policies::Time now) {
  auto entry = watched_.find(node);
  if (entry == watched_.end()) return false;
  Watched& watched = entry->second;
  watched.probing = false;
  if (reached) watched.heard = now;
  return watched.status == MemberStatus::alive && now - watched.heard >= silence_;
}

FailureDetector::Actions FailureDetector::tick(policies::Time now) {
  const policies::Duration since = now - last_tick_;
  const bool was_paused = last_tick_.count() != 0 && since > 2 * interval_ + milliseconds(100);
  last_tick_ = now;
  if (was_paused) {
    ++own_pauses_;
    for (auto& [node, watched] : watched_) {
      watched.heard = std::max(watched.heard, now - interval_);
      if (watched.status == MemberStatus::suspect) watched.suspected += since;
    }
  }

  Actions actions;
  for (auto& [node, watched] : watched_) {
    const bool silent = now - watched.heard >= silence_;
    if (watched.status == MemberStatus::alive && silent && !watched.probing) {
      watched.probing = true;
      actions.probe.push_back(node);
    } else if (watched.status == MemberStatus::suspect && silent &&
               now - watched.suspected >= suspicion_) {
      actions.dead.push_back(node);
    }
  }
  return actions;
}

policies::Time FailureDetector::last_heard(crdt::NodeId node) const {
  auto entry = watched_.find(node);
  return entry == watched_.end() ? policies::Time{0} : entry->second.heard;
}

}  // namespace dualmesh::node
