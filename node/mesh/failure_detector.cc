#include "node/mesh/failure_detector.h"

#include <algorithm>
#include <cmath>

namespace dualmesh::node {

using crdt::MemberStatus;
using std::chrono::milliseconds;

namespace {

constexpr std::uint32_t kHealAfterMs = 1'000;

}  // namespace

policies::Duration suspicion_time(policies::Duration shortest, policies::Duration longest,
                                  std::size_t confirmations, std::size_t wanted) {
  if (confirmations >= wanted) return shortest;
  const double share =
      std::log1p(static_cast<double>(confirmations)) / std::log1p(static_cast<double>(wanted));
  const double saved = share * static_cast<double>((longest - shortest).count());
  return longest - policies::Duration(static_cast<policies::Duration::rep>(saved));
}

FailureDetector::FailureDetector(const MeshConfig& config)
    : interval_(milliseconds(config.ping_interval_ms)),
      silence_(
          milliseconds(std::uint64_t{config.suspect_after_misses - 1} * config.ping_interval_ms +
                       config.ping_timeout_ms)),
      suspicion_(milliseconds(config.suspicion_ms)),
      health_(std::max(1u, kHealAfterMs / config.ping_interval_ms)) {}

void FailureDetector::learned(crdt::NodeId node, const crdt::Member& member, policies::Time now) {
  if (!member.reachable()) {
    watched_.erase(node);
    return;
  }
  auto [entry, added] = watched_.try_emplace(node);
  Watched& watched = entry->second;
  const bool spoke = watched.epoch != member.epoch || watched.refutations != member.refutations;
  // It begins a life or refutes only by itself, so it lives, even if we heard of that from others.
  if (added || spoke) watched.heard = std::max(watched.heard, now);
  if (member.status == MemberStatus::suspect &&
      (spoke || watched.status != MemberStatus::suspect)) {
    watched.suspected = now;
  }
  watched.epoch = member.epoch;
  watched.refutations = member.refutations;
  watched.status = member.status;
}

void FailureDetector::heard(crdt::NodeId node, policies::Time now) {
  auto entry = watched_.find(node);
  if (entry != watched_.end()) entry->second.heard = now;
}

void FailureDetector::accused(crdt::NodeId accuser, std::vector<Accusation> accusations) {
  auto entry = watched_.find(accuser);
  if (entry == watched_.end()) return;
  entry->second.accuses = {accusations.begin(), accusations.end()};
}

void FailureDetector::probe_began(crdt::NodeId node, std::vector<crdt::NodeId> helpers,
                                  policies::Time now) {
  auto entry = watched_.find(node);
  if (entry == watched_.end()) return;
  // Those that fall silent together with the node may well be gone together with it.
  std::erase_if(helpers, [&](crdt::NodeId helper) {
    auto known = watched_.find(helper);
    return known == watched_.end() || now - known->second.heard > silence_ / 2;
  });
  entry->second.probe_began = now;
  entry->second.owing = std::move(helpers);
}

bool FailureDetector::probe_answered(crdt::NodeId node, bool reached, policies::Time now) {
  auto entry = watched_.find(node);
  if (entry == watched_.end()) return false;
  Watched& watched = entry->second;
  watched.probing = false;
  if (reached) watched.heard = now;
  const auto owing = std::exchange(watched.owing, {});
  const bool all_silent = std::all_of(owing.begin(), owing.end(), [&](crdt::NodeId helper) {
    auto known = watched_.find(helper);
    return known == watched_.end() || known->second.heard <= watched.probe_began;
  });
  if (!reached && !owing.empty() && all_silent) health_.worse();
  return watched.status == MemberStatus::alive && silent(watched, now);
}

void FailureDetector::forgive(policies::Duration slept, policies::Time now) {
  ++own_pauses_;
  health_.worse();
  for (auto& [node, watched] : watched_) {
    watched.heard = std::max(watched.heard, now - interval_);
    if (watched.status == MemberStatus::suspect) watched.suspected += slept;
  }
}

FailureDetector::Actions FailureDetector::tick(policies::Time now) {
  const policies::Duration since = now - last_tick_;
  const bool was_paused = last_tick_.count() != 0 && since > 2 * interval_ + milliseconds(100);
  last_tick_ = now;
  if (was_paused) {
    forgive(since, now);
  } else {
    health_.good_round();
  }

  Actions actions;
  for (auto& [node, watched] : watched_) {
    if (!silent(watched, now)) continue;
    if (watched.status == MemberStatus::alive && !watched.probing) {
      watched.probing = true;
      actions.probe.push_back(node);
    } else if (watched.status == MemberStatus::suspect &&
               now - watched.suspected >= suspicion(node, now)) {
      actions.dead.push_back(node);
    }
  }
  return actions;
}

policies::Duration FailureDetector::suspicion(crdt::NodeId node, policies::Time now) const {
  const auto could_say = [&](const auto& other) {
    return other.first != node && other.second.status == MemberStatus::alive &&
           !silent(other.second, now);
  };
  const auto accusers = std::count_if(watched_.begin(), watched_.end(), could_say);
  const auto wanted = static_cast<std::size_t>(accusers) < kWantedConfirmations
                          ? std::size_t{0}
                          : kWantedConfirmations;
  return health_.multiplier() *
         suspicion_time(suspicion_, kLongestSuspicion * suspicion_, confirmations(node), wanted);
}

std::size_t FailureDetector::confirmations(crdt::NodeId node) const {
  auto suspect = watched_.find(node);
  if (suspect == watched_.end()) return 0;
  const Accusation now{node, suspect->second.epoch, suspect->second.refutations};
  return static_cast<std::size_t>(
      std::count_if(watched_.begin(), watched_.end(), [&](const auto& other) {
        return other.first != node && other.second.accuses.contains(now);
      }));
}

std::vector<Accusation> FailureDetector::accusations(policies::Time now) const {
  std::vector<Accusation> out;
  for (const auto& [node, watched] : watched_) {
    if (watched.status == MemberStatus::suspect && silent(watched, now)) {
      out.push_back({node, watched.epoch, watched.refutations});
    }
  }
  return out;
}

policies::Time FailureDetector::last_heard(crdt::NodeId node) const {
  auto entry = watched_.find(node);
  return entry == watched_.end() ? policies::Time{0} : entry->second.heard;
}

}  // namespace dualmesh::node
