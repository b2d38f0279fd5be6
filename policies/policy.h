// Policy: which instance a request goes to, and in what order requests wait.
//
// The one interface behind which all policies stand, one file each. A policy looks at the fleet and
// chooses; it moves nothing and counts nothing of the load itself. `choose` is const, so that
// asking "where would this go?" is the same code as sending it there; a policy with a memory of its
// own (whose turn is next) keeps it in `taken`.
//
// Threads: none; the scheduler's owner locks.
// Source: the shape of Envoy's load balancers: the algorithm apart from configuration and
// transport.
#pragma once

#include <algorithm>
#include <array>
#include <random>
#include <span>
#include <string_view>

#include "policies/decision.h"
#include "policies/fleet.h"
#include "policies/hits.h"
#include "policies/scheduler.h"

namespace dualmesh::policies {

// Small, so that `explain` can ask with a copy and get the very answer the next request will get.
using Random = std::minstd_rand;

// In place of the name of an order: requests do not wait at the router.
inline constexpr std::string_view kAtOnce = "none";

struct PlacementRequest {
  const Arrival& arrival;
  std::uint32_t depth = 1;  // blocks in the ring key (policies/depth_table.h)
  BlockKey ring_key = 0;
};

// The fleet as one request may use it.
struct PlacementContext {
  const Fleet& fleet;
  const ModelState& model;
  std::span<const Slot> excluded;  // where it has already failed
  Time now{};

  bool usable(Slot slot) const {
    if (!fleet.usable(slot, model)) return false;
    return excluded.empty() || std::ranges::find(excluded, slot) == excluded.end();
  }
  // Is each of model.serving_now usable? Mostly so.
  bool all_usable() const { return excluded.empty() && !fleet.bounded(); }
};

// What a request got from its instance; zero where the engine did not say.
struct Service {
  std::uint32_t output_tokens = 0;
  bool finished = false;  // false: cancelled or failed
  Duration decoding{};    // from its first token to its end; zero when that was not seen
};

inline constexpr std::uint32_t kNoPeer = 0xffffffff;

struct Choice {
  Slot primary = kNoSlot;  // kNoSlot: no instance can take it, or, with `wait`, none yet
  Slot backup = kNoSlot;   // the candidate not taken; kNoSlot when there was none
  Reason reason = Reason::none;
  std::array<CandidateEstimate, 2> candidates;  // the primary and the backup, or by_ring:
  bool by_ring = false;                         // the owners on ring A and ring B, in this order
  bool wait = false;  // it stays at the router, to be asked for again when load or fleet change
  // Index of the view's peers: that node places it, on candidates[0] as far as we can tell.
  std::uint32_t hand_to = kNoPeer;
};

// When requests are moved away from an instance: with more pending time than so many SLOs, or when
// somebody has waited too long there. No move makes its target overloaded.
struct RebalanceRule {
  double source_slos = 0.5;
  bool by_wait = true;
};

class Policy {
 public:
  virtual ~Policy() = default;

  virtual std::string_view name() const = 0;
  // The order in which requests wait at the router until their instance has room, so that they can
  // still be moved, unless another is asked for; kAtOnce: they do not wait.
  virtual std::string_view default_order() const { return kAtOnce; }
  // Are waiting requests moved away from hot spots?
  virtual bool rebalances() const { return false; }
  virtual RebalanceRule rebalance_rule() const { return {}; }

  virtual Choice choose(const PlacementRequest& request, const PlacementContext& context,
                        Random& random) const = 0;
  // The choice was carried out.
  virtual void taken(const PlacementRequest&, const PlacementContext&, const Choice&) {}
  // What came of it: the first token, and the end however it came.
  virtual void first_token(const Arrival&, Slot, Duration /*since_submit*/) {}
  virtual void ended(const Arrival&, Slot, const Service&) {}
};

// Of one block of the request's chain.
inline std::uint32_t block_tokens(const Arrival& arrival, const Fleet& fleet) {
  return arrival.block_tokens > 0 ? arrival.block_tokens : fleet.settings().block_tokens;
}

// Time to first token if the request were last in the queue of `slot`.
inline CandidateEstimate estimate(const PlacementRequest& request, const Fleet& fleet, Slot slot) {
  CandidateEstimate result;
  result.slot = slot;
  if (slot == kNoSlot) return result;
  result.hit_tokens = hit_tokens(request.arrival, slot);
  result.source = hit_source(request.arrival, slot);
  result.pending_tokens = fleet.pending_tokens(slot);
  const std::uint64_t miss = request.arrival.input_tokens - result.hit_tokens;
  result.ttft_s =
      static_cast<double>(result.pending_tokens + miss) * fleet.prefill_s_per_token(slot);
  return result;
}

}  // namespace dualmesh::policies
