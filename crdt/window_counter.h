// WindowCounter: how much all nodes together have admitted under a limit in the last window.
//
// State: (window index, limit, origin) -> admitted by that origin in that window. Only the origin
// raises its cells. The sliding sum takes the current window whole and of the one before the share
// that is not yet over.
//
// Invariant: cells only rise; a cell of this process's own is never taken from others. Merge: per
// cell the maximum, so nothing is counted twice whoever passes it on. Accepted are windows now - 2
// to now + 1, which forgives clocks that differ by less than a window; older ones are dropped
// everywhere without tombstones. The sum never understates what is known here; what others admit
// before their cells arrive is not in it: nodes that must never exceed a limit together need shares
// of it, not a sum. A restarted node writes cells of its new epoch; those of its last life count
// on. Cost: add O(log n), sum O(log n + origins), expire O(n); memory a cell per limit, origin and
// window in use. The holder bounds the limits it takes in. Threads: none; time is an argument.
// Source: grow-only counter of Shapiro et al. 2011 (crdt/g_counter.h) in time windows; two-cell
// sliding sum as in common rate limiters.
#pragma once

#include <boost/assert.hpp>
#include <cstdint>

#include "crdt/bucketed_max.h"
#include "crdt/version_vector.h"

namespace dualmesh::crdt {

using LimitId = Number<struct LimitIdTag>;

struct CounterCell {
  std::uint64_t bucket = 0;  // wall time / length of the window
  LimitId limit;
  Origin origin;
  auto operator<=>(const CounterCell&) const = default;
};

inline void hash_field(EntryHasher& hasher, const CounterCell& cell) {
  hasher.add(cell.bucket).add(cell.limit.value);
  hash_field(hasher, cell.origin);
}

class WindowCounter {
 public:
  static constexpr BucketWindow kWindow{2, 1};
  using Rows = Table<CounterCell, Max<std::uint64_t>>;
  using Delta = Rows::Delta;

  explicit WindowCounter(const Origin& self) : self_(self) {}

  void add(LimitId limit, std::uint64_t amount, std::uint64_t now) {
    const CounterCell cell{now, limit, self_};
    const Max<std::uint64_t>* held = rows_.find(cell);
    const std::uint64_t before = held == nullptr ? 0 : held->value;
    rows_.join(cell, {before + std::min(amount, ~before)});  // stays at the greatest number
  }
  // Admitted in the window of length `window_ms` that ends `elapsed_ms` into window `now`; rounded
  // up.
  std::uint64_t sliding_sum(LimitId limit, std::uint64_t now, std::uint32_t elapsed_ms,
                            std::uint32_t window_ms) const {
    BOOST_ASSERT(elapsed_ms <= window_ms && window_ms > 0);
    const std::uint64_t current = sum(limit, now);
    if (now == 0) return current;
    const std::uint64_t previous = sum(limit, now - 1);
    const std::uint64_t left_ms = window_ms - elapsed_ms;
    const std::uint64_t share = previous / window_ms * left_ms +
                                (previous % window_ms * left_ms + window_ms - 1) / window_ms;
    return current + std::min(share, ~current);
  }
  // Admitted by all in one window.
  std::uint64_t sum(LimitId limit, std::uint64_t window) const {
    std::uint64_t sum = 0;
    rows_.for_each_from({window, limit, {}}, [&](const CounterCell& cell, const auto& admitted) {
      if (cell.bucket != window || cell.limit != limit) return false;
      sum += std::min(admitted.value, ~sum);
      return true;
    });
    return sum;
  }

  // Joins what lies within the window and is not of our own; on_grown(cell, max) for each that
  // grew.
  template <class OnGrown>
  BucketedOutcome apply(Delta delta, std::uint64_t now, OnGrown&& on_grown) {
    std::erase_if(delta.entries, [&](const auto& row) { return row.key.origin == self_; });
    return detail::apply_within(kWindow, now, rows_, delta, on_grown);
  }
  std::size_t expire(std::uint64_t now) { return detail::expire_outside(kWindow, now, rows_); }

  Delta delta_since(Version from, std::size_t max_entries) const {
    return rows_.delta_since(from, max_entries);
  }
  const Rows& rows() const { return rows_; }

 private:
  Origin self_;
  Rows rows_;
};

}  // namespace dualmesh::crdt
