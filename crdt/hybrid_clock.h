// Hybrid logical clock: stamps that respect causality and stay close to wall time.
//
// A Stamp is (48-bit milliseconds, 16-bit counter, writer). A stamp taken after another was seen is
// always greater, whatever the clocks of the two machines say.
//
// Invariant: stamps issued by one clock strictly increase, also across `observe`.
// Merge: `observe`, the maximum. Cost: O(1), 16 bytes.
// Threads: none. Time is an argument.
// Source: Kulkarni et al. 2014, "Logical Physical Clocks". Stamps further than `max_ahead_ms` in
// the future are refused, as Scylla refuses absurd generations: one bad clock must not win for
// ever.
#pragma once

#include <compare>
#include <cstdint>

#include "crdt/identity.h"
#include "crdt/state_digest.h"

namespace dualmesh::crdt {

struct Stamp {
  std::uint64_t time = 0;  // milliseconds << 16 | counter
  NodeId writer;

  std::uint64_t wall_ms() const { return time >> 16; }
  auto operator<=>(const Stamp&) const = default;
};

inline void hash_field(EntryHasher& hasher, Stamp stamp) {
  hasher.add(stamp.time).add(stamp.writer.value);
}

class HybridClock {
 public:
  static constexpr std::uint64_t kMaxAheadMs = 60'000;

  explicit HybridClock(NodeId self) : self_(self) {}

  // The next stamp. More than 65,536 in one millisecond borrow from the following ones.
  Stamp now(std::uint64_t wall_ms);
  // False when the stamp is too far ahead of `wall_ms`; the clock is then unchanged. Stamps that
  // were accepted before, and those that follow them, are good even when wall time went back.
  bool observe(Stamp stamp, std::uint64_t wall_ms);
  bool accepts(Stamp stamp, std::uint64_t wall_ms) const;  // would `observe` say
  Stamp last() const { return {last_, self_}; }            // the greatest issued or observed

 private:
  NodeId self_;
  std::uint64_t last_ = 0;
};

}  // namespace dualmesh::crdt
