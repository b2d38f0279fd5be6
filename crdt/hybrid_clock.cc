#include "crdt/hybrid_clock.h"

#include <algorithm>
#include <boost/assert.hpp>

namespace dualmesh::crdt {

namespace {
constexpr int kCounterBits = 16;
constexpr std::uint64_t kFollowsMs = 1'000;  // 65 million stamps after one that was accepted
}

Stamp HybridClock::now(std::uint64_t wall_ms) {
  BOOST_ASSERT(wall_ms >> (64 - kCounterBits) == 0);
  last_ = std::max(last_ + 1, wall_ms << kCounterBits);
  return Stamp{last_, self_};
}

bool HybridClock::accepts(Stamp stamp, std::uint64_t wall_ms) const {
  const std::uint64_t follows_known = last().wall_ms() + kFollowsMs;
  return stamp.wall_ms() <= std::max(wall_ms + kMaxAheadMs, follows_known);
}

bool HybridClock::observe(Stamp stamp, std::uint64_t wall_ms) {
  if (!accepts(stamp, wall_ms)) return false;
  last_ = std::max(last_, stamp.time);
  return true;
}

}  // namespace dualmesh::crdt
