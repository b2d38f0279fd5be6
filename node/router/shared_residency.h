// SharedResidency: the node's ResidencyIndex behind a mutex of its own, and the placements that the
// mesh has not been told of yet.
//
// A lock apart from the scheduler's, because a look-up takes longer than a scheduling decision and
// happens before it; the two are never held together. A hit that changes in between costs a
// slightly wrong estimate, nothing else.
//
// What was placed in the last seconds is kept apart, where somebody asks for it: engines that tell
// what they hold tell it some time after a request was sent to them.
//
// Invariant: at most `max_untold` blocks wait for the mesh; beyond it the oldest are dropped, which
// costs the peers a prediction.
// Threads: all calls thread-safe.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "node/mesh/mesh_host.h"
#include "node/router/told_placements.h"
#include "policies/residency_index.h"

namespace dualmesh::node {

class SharedResidency {
 public:
  explicit SharedResidency(policies::ResidencyIndex::Limits limits, std::size_t max_untold = 65'536)
      : limits_(limits),
        index_(limits),
        recent_({limits.capacity_blocks, kRecent}),
        told_(limits.capacity_blocks / 2,
              std::min<policies::Duration>(limits.time_to_live / 2, kAgain)),
        max_untold_(max_untold) {}

  static constexpr std::chrono::seconds kRecent{5};
  static constexpr std::chrono::seconds kAgain{10};  // a prompt in steady use is told each so often
  void keep_recent(bool wanted);

  void longest_prefix(std::span<const policies::BlockKey> blocks,
                      std::vector<std::uint32_t>& hits) const;
  // Of what was placed in the last kRecent; zeros unless that is kept.
  void longest_recent_prefix(std::span<const policies::BlockKey> blocks,
                             std::vector<std::uint32_t>& hits) const;
  // Was the last that was placed there with this block, in the last kRecent, placed before `then`?
  bool placed_before(policies::Slot slot, policies::BlockKey block, policies::Time then) const;
  struct Placed {
    // So long ago the last of those that were expected there had been touched; nothing: none were.
    std::optional<policies::Duration> age;
    bool to_tell = false;  // the mesh has not heard of these lately, and is to
  };
  // We placed a request there.
  Placed placed_here(policies::Slot slot, std::span<const policies::BlockKey> blocks,
                     policies::Time now);
  // The instance has turned out to have lost what was touched so long ago.
  void forget_older(policies::Slot slot, policies::Duration age, policies::Time now);
  void placed_elsewhere(policies::Slot slot, std::span<const policies::BlockKey> blocks,
                        policies::Time now);
  void forget(policies::Slot slot);
  void forget_all();  // and what the mesh has not been told
  void expire(policies::Time now, std::size_t at_most);
  void take_placements(std::vector<LocalPlacement>& out);
  std::size_t size() const;
  std::size_t size(policies::Slot slot) const;

 private:
  const policies::ResidencyIndex::Limits limits_;
  mutable std::mutex mutex_;
  policies::ResidencyIndex index_;  // guarded, as are the rest
  policies::ResidencyIndex recent_;
  bool keeps_recent_ = false;
  ToldPlacements told_;
  std::vector<LocalPlacement> untold_;
  std::size_t untold_blocks_ = 0;
  const std::size_t max_untold_;
};

}  // namespace dualmesh::node
