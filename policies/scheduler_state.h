// What a Scheduler consists of. Private to scheduler*.cc.
#pragma once

#include <memory>

#include "policies/decision_log.h"
#include "policies/depth_table.h"
#include "policies/fleet.h"
#include "policies/ledger.h"
#include "policies/policy.h"
#include "policies/queue_order.h"
#include "policies/rebalancer.h"
#include "policies/scheduler.h"
#include "policies/waiting_room.h"

namespace dualmesh::policies {

struct Scheduler::State {
  explicit State(const SchedulerSettings& settings);

  // Decides and carries out, or lets it wait at the router. False: no instance can take it; the
  // caller ends the request.
  bool place(LiveRequest& request, Reason why, Time now, Effects& effects);
  void dispatch(LiveRequest& request, std::uint32_t uncached_tokens, Slot slot, Time now,
                Effects& effects);
  void hand_over(LiveRequest& request, const Choice& choice, Effects& effects);
  // Takes policy and order as the settings name them; a name from a newer node is left aside.
  void use(const RoutingSettings& wanted);
  // For what the order hears.
  OrderContext at(Slot slot) const { return {fleet, slot, latest, fleet.free_at(slot, latest)}; }
  // The one that goes next from the queue of `slot`, which is not empty.
  LiveRequest& next(Slot slot) const;
  // Is it for this node to send the next one to `slot` now?
  Turn turn(Slot slot) const;
  // A prefill of ours has ended: when the next of them should.
  void expect_end(Slot slot, Time now);
  void note_room(Slot slot);
  void pump_everywhere(Time now, Effects& effects);
  // Dispatches from the queue of `slot` while it has room.
  void pump(Slot slot, Time now, Effects& effects);
  // Asks again for those that wait at the router; for after any change of load or fleet.
  void admit(Time now, Effects& effects);
  // A request without a first token has left `slot`, or got one.
  void room_made(Slot slot, Time now, Effects& effects);
  // `seen` or presumed: the first token of one that is away.
  void answered_there(LiveRequest& request, bool seen, Time now, Effects& effects);
  void retry(LiveRequest& request, Slot failed_at, Time now, Effects& effects);
  // Takes the request off its instance.
  void leave(LiveRequest& request, Time now, Effects& effects);
  void end(LiveRequest& request, Outcome outcome, std::uint32_t output_tokens = 0);
  void reject(LiveRequest& request, Outcome outcome, Effects& effects);

  void rebalance_everywhere(Time now, Effects& effects);
  void rebalance_arrival(const LiveRequest& request, Time now, Effects& effects);
  void carry_out(const Rebalancer::Moves& moves, Time now, Effects& effects);
  // Places anew what waits for instances that can no longer be used.
  void replace_stranded(bool everywhere, Time now, Effects& effects);
  bool stranded(const LiveRequest& request) const;

  PlacementRequest facts_of(const Arrival& arrival, Time now) const;
  void describe(DecisionRecord& record, const PlacementRequest& request, Time now) const;
  void describe(DecisionRecord& record, const ModelState* model, const Choice& choice) const;

  SchedulerSettings settings;
  Fleet fleet;
  Ledger ledger;
  WaitingRoom waiting;
  DepthTable depth;
  Rebalancer rebalancer;
  std::unique_ptr<Policy> policy;
  std::string policy_spec;
  std::unique_ptr<QueueOrder> order;  // of what waits; kept while the policy dispatches at once
  std::string order_spec;
  bool queues = true;
  Random random;
  DecisionLog log;
  SchedulerTotals totals;
  Time latest{};                   // of any entry; for looking in without a clock
  std::size_t rebalance_from = 0;  // slot to begin with, so that a small budget is fair
};

}  // namespace dualmesh::policies
