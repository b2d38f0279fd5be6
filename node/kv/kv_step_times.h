// KvStepTimes: when this node's index had which batches of a stream, for measuring from outside.
//
// Only what was asked for within the last minute is watched, so it costs nothing otherwise.
//
// Invariant: at most kKept steps of at most kMostWatched streams.
// Threads: none; the ingest thread's. Time is an argument.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "node/kv/kv_state.h"

namespace dualmesh::node {

struct KvStepTime {
  crdt::Version end;    // all batches up to it are in the index
  policies::Time at{};  // since then at the latest
};

class KvStepTimes {
 public:
  static constexpr std::size_t kKept = 1'024;
  static constexpr std::size_t kMostWatched = 1'024;
  static constexpr policies::Duration kWatchFor = std::chrono::seconds(60);

  // What was noted since it was asked for first, the oldest first.
  std::vector<KvStepTime> ask(const KvState& state, const StreamKey& stream, policies::Time now) {
    const auto found = watched_.find(stream);
    if (found == watched_.end()) {
      if (state.map(stream) != nullptr && watched_.size() < kMostWatched) {
        watched_[stream] = {now, state.map(stream)->end(), {}};
      }
      return {};
    }
    found->second.asked_at = now;
    return {found->second.steps.begin(), found->second.steps.end()};
  }

  // After each turn that may have changed something.
  void note(const KvState& state, policies::Time now) {
    if (watched_.empty()) return;
    std::erase_if(watched_, [&](const auto& entry) {
      return now - entry.second.asked_at > kWatchFor || state.map(entry.first) == nullptr;
    });
    for (auto& [stream, watched] : watched_) {
      const crdt::Version end = state.map(stream)->end();
      if (end == std::exchange(watched.end, end)) continue;
      watched.steps.push_back({end, now});
      if (watched.steps.size() > kKept) watched.steps.pop_front();
    }
  }

 private:
  struct Watched {
    policies::Time asked_at{};
    crdt::Version end;
    std::deque<KvStepTime> steps;
  };
  std::map<StreamKey, Watched> watched_;
};

}  // namespace dualmesh::node
