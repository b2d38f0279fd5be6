// Rebalancer: moves waiting requests away from an overloaded instance.
//
// Each waiting request has somewhere else to go: its other candidate or, when that is overloaded
// too (or cannot be used), the neighbour: the next instance of the model by name. The benefit of a
// move is the time to first token where the request waits now, its place in the queue counted, less
// the time to first token at its place in the other queue. The largest benefit moves first, as long
// as it is positive, until this node's share of the uncached tokens that the source had over the
// threshold has left: an equal part for each node that queues there. A source that is overloaded
// only because somebody has waited too long has no such bound. The room of a target is shared out
// alike: of what it had below the threshold, a node fills one part in as many as queue at the
// source, and no more until it has moved nothing there for `kLease`, by when the others have heard
// of it. For as long after the source became hot all live nodes are taken to queue there: they may,
// and we have not heard. A request is moved twice at most.
//
// Invariant: no move makes its target overloaded, as far as this node can see.
// Cost: at most `budget` requests are examined, from the end of the queue, where the wait is
// longest; each is looked at once more when a move has changed what it would gain. Threads: none.
// Source: DualMap (arXiv 2602.06502), hotspot-aware rebalancing, and its authors' code.
#pragma once

#include <boost/container/small_vector.hpp>
#include <optional>

#include "policies/fleet.h"
#include "policies/ledger.h"
#include "policies/policy.h"
#include "policies/queue_order.h"

namespace dualmesh::policies {

class Rebalancer {
 public:
  struct Move {
    LiveRequest* request;
    Slot from;
    Slot to;
  };
  using Moves = boost::container::small_vector<Move, 16>;

  Rebalancer(Fleet& fleet, Ledger& ledger) : fleet_(fleet), ledger_(ledger) {}

  // Is there anything for relieve() to do at any source, or at this one? Mostly nothing waits.
  bool has_work() const { return ledger_.queued() > 0 || hot_ > 0; }
  bool has_work(Slot source) const {
    const InstanceState& instance = fleet_.at(source);
    return !instance.queue.empty() || instance.hot_since != Time::max();
  }
  // Does nothing unless `source` is overloaded. Moved requests are in the target's queue already.
  // `budget` counts down.
  void relieve(Slot source, const QueueOrder& order, const RebalanceRule& rule, Time now,
               std::uint32_t& budget, Moves& moves);

 private:
  struct Plan {
    LiveRequest* request = nullptr;
    Slot target = kNoSlot;
    std::uint32_t uncached_tokens = 0;  // at the target
    std::uint64_t rank = 0;             // at the target
    double benefit_s = 0;
  };
  // One call of `relieve`. Most requests of a queue are for the same model: its look-up is kept.
  struct Pass {
    Slot source;
    const QueueOrder& order;
    Time now;
    const Moves& moves;
    double nodes;  // that queue at the source, this one counted
    std::uint64_t model_hash = 0;
    const ModelState* model = nullptr;
    std::size_t source_place = 0;  // in the model's active list
  };

  bool find_model(const LiveRequest& request, Pass& pass) const;
  std::optional<Plan> examine(LiveRequest& request, Pass& pass) const;
  Slot target_for(const LiveRequest& request, const Pass& pass) const;
  bool can_take(Slot slot, const LiveRequest& request, const PlacementContext& context,
                const Pass& pass) const;
  std::uint32_t uncached_at(const LiveRequest& request, Slot slot) const;
  // How many nodes move from `source`, which is hot, this one counted.
  double sharers(Slot source, Time now) const;
  void note_moved(Slot target, std::uint32_t tokens, Time now);

  Fleet& fleet_;
  Ledger& ledger_;
  std::size_t hot_ = 0;  // sources with hot_since
};

}  // namespace dualmesh::policies
