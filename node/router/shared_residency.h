// SharedResidency: the node's ResidencyIndex behind a mutex of its own, and the placements that the
// mesh has not been told of yet.
//
// A lock apart from the scheduler's, because a look-up takes longer than a scheduling decision and
// happens before it; the two are never held together. A hit that changes in between costs a
// slightly wrong estimate, nothing else.
//
// Invariant: at most `max_untold` blocks wait for the mesh; beyond it the oldest are dropped, which
// costs the peers a prediction.
// Threads: all calls thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "node/mesh/mesh_host.h"
#include "policies/residency_index.h"

namespace dualmesh::node {

class SharedResidency {
 public:
  explicit SharedResidency(policies::ResidencyIndex::Limits limits, std::size_t max_untold = 65'536)
      : limits_(limits), index_(limits), max_untold_(max_untold) {}

  void longest_prefix(std::span<const policies::BlockKey> blocks,
                      std::vector<std::uint32_t>& hits) const;
  // We placed a request there: true, and the mesh should hear, when there were blocks.
  bool placed_here(policies::Slot slot, std::span<const policies::BlockKey> blocks,
                   policies::Time now);
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
  std::vector<LocalPlacement> untold_;
  std::size_t untold_blocks_ = 0;
  const std::size_t max_untold_;
};

}  // namespace dualmesh::node
