// Turns: how nodes that queue for the same instance act on one order without asking each other.
//
// Every node tells the mesh, beside its load, which requests it has waiting for an instance: for
// each the slack until it is due and its uncached tokens. An order that is shared ranks what others
// have waiting together with its own queue (QueueOrder::next), so the nodes find the same request
// to be first, and the one that holds it sends it. Nobody asks and nobody grants. A turn is the
// time for which an instance known to have room is left to a request of another node; when it has
// passed, whoever has work takes the instance, so a message lost or late costs `kGrace` and no
// more. A prefill that another node has running is believed for `kDoubt` beyond the time at which
// it should have ended, so that a node that hangs does not hold up the others.
//
// The next request may be sent `lead` before the one ahead should have its first token, so that the
// engine finds it when it forms its next batch.
//
// Invariants: nobody waits for a message; work conservation outranks order; a node sends at most
// one request ahead, but for what an order sends together (QueueOrder::batch_tokens). Two nodes
// that each believe to be first overshoot by one request each.
// Threads: values. Source: ours; as reservations in SWIM-like meshes time out, so do turns.
#pragma once

#include <algorithm>
#include <boost/container/static_vector.hpp>
#include <chrono>
#include <cstdint>

#include "policies/time.h"

namespace dualmesh::policies {

// One request that waits, as its node tells it.
struct WaitingReport {
  std::int32_t slack_ms = 0;  // until it is due, when it was told
  std::uint32_t tokens = 0;   // uncached, at the instance
  bool operator==(const WaitingReport&) const = default;
};

inline constexpr std::size_t kWaitingTold = 8;  // by one node for one instance
using WaitingReports = boost::container::static_vector<WaitingReport, kWaitingTold>;

// The same at whoever heard it.
struct Waiting {
  Time due{};  // by the listener's clock
  std::uint32_t tokens = 0;
};

inline constexpr Duration kGrace = std::chrono::milliseconds(20);
inline constexpr Duration kLease = std::chrono::milliseconds(250);
inline constexpr Duration kDoubt = std::chrono::seconds(5);

struct TurnFacts {
  std::uint32_t running = 0;  // requests without a first token there, of all nodes
  std::uint32_t limit = 1;    // as many may be
  Time free_at{};             // when the running ones should have theirs
  Time lapse{};               // when what others have running is no longer believed; past: none
  Time room_since{};          // when fewer than that were first known to run
  Duration lead{};
};

struct Turn {
  static constexpr Time kNever = Time::max();
  bool send = false;
  Time ask_again = kNever;  // at the latest; any news is a reason to ask before
};

// `first()`: no request of another node goes before ours. Asked only when it matters.
template <class First>
Turn take_turn(const TurnFacts& facts, Time now, First&& first) {
  if (facts.running < facts.limit) {
    const Time until = facts.room_since + kGrace;
    return now >= until || first() ? Turn{true} : Turn{false, until};
  }
  const Time lapse = facts.lapse > now ? facts.lapse : Turn::kNever;
  if (facts.running > facts.limit || facts.lead <= Duration::zero()) return {false, lapse};
  const Time soon = facts.free_at - facts.lead;
  if (now < soon) return {false, std::min(soon, lapse)};
  return first() ? Turn{true} : Turn{false, lapse};
}

}  // namespace dualmesh::policies
