#include "crdt/hybrid_clock.h"

#include <algorithm>
#include <boost/assert.hpp>

namespace dualmesh::crdt {

namespace {
constexpr int kCounterBits = 16;
}

Stamp HybridClock::now(std::uint64_t wall_ms) {
  BOOST_ASSERT(wall_ms >> (64 - kCounterBits) == 0);
  last_ = std::max(last_ + 1, wall_ms << kCounterBits);
  return Stamp{last_, self_};
}

bool HybridClock::observe(Stamp stamp, std::uint64_t wall_ms) {
  if (stamp.wall_ms() > wall_ms + kMaxAheadMs) return false;
  last_ = std::max(last_, stamp.time);
  return true;
}

}  // namespace dualmesh::crdt
