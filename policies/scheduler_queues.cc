// How requests get to their instances: placed, queued, dispatched in turn.
#include <algorithm>
#include <boost/assert.hpp>
#include <optional>

#include "policies/policy_registry.h"
#include "policies/scheduler_state.h"

namespace dualmesh::policies {

Scheduler::State::State(const SchedulerSettings& given)
    : settings(given),
      fleet(given),
      ledger(fleet),
      depth({given.depth_window, given.depth_min_samples, given.depth_hot_share,
             given.depth_cold_share, given.depth_max_marks}),
      rebalancer(fleet, ledger),
      policy(make_policy(given.policy)),
      policy_spec(given.policy),
      order(make_queue_order("fifo")),
      order_spec("fifo"),
      random(static_cast<Random::result_type>(given.seed)),
      log(given.decision_log_size) {
  settings.prefill_limit = std::max(settings.prefill_limit, 1U);
  BOOST_ASSERT(policy != nullptr);
  use({given.policy, given.queue, given.slo_ttft_s, given.client_weights});
}

void Scheduler::State::use(const RoutingSettings& wanted) {
  if (wanted.policy != policy_spec && is_policy(wanted.policy)) {
    policy = make_policy(wanted.policy);
    policy_spec = wanted.policy;
  }
  const RoutingSpec routing = split_routing(policy_spec);
  const std::string_view asked = routing.names_order ? routing.order : wanted.queue;
  const std::string_view spec = is_queue_order(asked) ? asked : policy->default_order();
  queues = spec != kAtOnce;
  if (!queues || spec == order_spec) return;
  order = make_queue_order(spec);
  BOOST_ASSERT(order != nullptr);
  order_spec = spec;
  ledger.rank_again([this](const LiveRequest& request) {
    order->queued(request.arrival, at(request.slot));
    return order->rank(request.arrival, request.arrival.input_tokens - request.uncached_tokens);
  });
}

bool Scheduler::State::place(LiveRequest& request, Reason why, Time now, Effects& effects) {
  const ModelState* model = fleet.model(request.arrival.model);
  if (model == nullptr) return false;
  const PlacementRequest facts{request.arrival, request.record.depth, request.record.ring_key};
  const PlacementContext context{fleet, *model, request.failed_at, now};
  const Choice choice = policy->choose(facts, context, random);
  describe(request.record, model, choice);
  if (choice.hand_to != kNoPeer) {
    hand_over(request, choice, effects);
    return true;
  }
  if (choice.wait && !request.waits) waiting.enter(request);
  if (choice.primary == kNoSlot) return choice.wait;
  policy->taken(facts, context, choice);
  request.candidates = {choice.candidates[0].slot, choice.candidates[1].slot};
  if (why != Reason::none) request.record.reason = why;
  if (!fleet.view().rings_agree) ++totals.decisions_under_disagreement;

  const Slot slot = choice.primary;
  const std::uint32_t hit = hit_tokens(request.arrival, slot);
  const std::uint32_t uncached = request.arrival.input_tokens - hit;
  effects.placed.push_back({request.arrival.id, slot});
  if (queues) {
    ledger.enqueue(request, slot, uncached, order->rank(request.arrival, hit));
    order->queued(request.arrival, at(slot));
    pump(slot, now, effects);
  } else {
    dispatch(request, uncached, slot, now, effects);
  }
  return true;
}

// Whatever comes of it, it is not handed on a second time.
void Scheduler::State::hand_over(LiveRequest& request, const Choice& choice, Effects& effects) {
  const CandidateEstimate& meant_for = choice.candidates[0];
  BOOST_ASSERT(!request.arrival.handed && choice.hand_to < fleet.view().peers->size());
  request.arrival.handed = true;
  ledger.hand_over(request, meant_for.slot);
  request.record.queued_s = to_seconds(latest - request.arrived);
  ++totals.handed;
  effects.handed.push_back({request.arrival.id, choice.hand_to, meant_for.ttft_s});
}

void Scheduler::State::dispatch(LiveRequest& request, std::uint32_t uncached_tokens, Slot slot,
                                Time now, Effects& effects) {
  if (request.stage == Stage::queued) order->left(request.arrival, at(request.slot));
  fleet.at(slot).busy_until =
      fleet.free_at(slot, now) + from_seconds(uncached_tokens * fleet.prefill_s_per_token(slot));
  ledger.dispatch(request, slot, uncached_tokens, now);
  order->dispatched(request.arrival, uncached_tokens, at(slot));
  request.record.queued_s = to_seconds(now - request.arrived);
  const std::uint64_t work =
      fleet.at(slot).own.prefilling_tokens + fleet.others(slot).prefilling_tokens;
  effects.dispatched.push_back(
      {request.arrival.id, slot, static_cast<double>(work) * fleet.prefill_s_per_token(slot),
       request.record.reason});
}

void Scheduler::State::pump(Slot slot, Time now, Effects& effects) {
  const InstanceState& instance = fleet.at(slot);
  note_room(slot);
  while (!instance.queue.empty()) {
    const Turn ours = turn(slot);
    effects.call_at = std::min(effects.call_at, ours.ask_again);
    if (!ours.send) return;
    LiveRequest& first = next(slot);
    dispatch(first, first.uncached_tokens, slot, now, effects);
  }
}

void Scheduler::State::admit(Time now, Effects& effects) {
  if (waiting.empty()) return;
  std::vector<LiveRequest*> homeless;
  waiting.let_in([&](LiveRequest& request) {
    const Reason why = request.record.retries == 0 ? Reason::none : Reason::retried;
    if (place(request, why, now, effects)) return request.stage != Stage::held;
    homeless.push_back(&request);
    return true;
  });
  for (LiveRequest* request : homeless) {
    const bool failed = request->record.retries > 0;
    reject(*request, failed ? Outcome::failed : Outcome::rejected, effects);
  }
}

Turn Scheduler::State::turn(Slot slot) const {
  const InstanceState& instance = fleet.at(slot);
  if (!order->shared()) return {instance.own.prefilling_requests < settings.prefill_limit};
  const std::uint32_t running = fleet.running(slot, latest);
  // Nobody to order it among, here or elsewhere.
  const bool alone = instance.queue.size() == 1 && fleet.others_waiting(slot).empty();
  if (alone && running < settings.prefill_limit) return {true};
  std::optional<QueueOrder::Next> known;
  const auto next = [&]() -> const QueueOrder::Next& {
    if (!known) known = order->next(instance.queue, at(slot));
    return *known;
  };
  const TurnFacts facts{running, settings.prefill_limit,
                        fleet.free_at(slot, latest), fleet.lapse(slot),
                        instance.room_since,         order->lead()};
  const std::uint64_t before =
      instance.own.prefilling_tokens + fleet.others(slot).prefilling_tokens;
  const std::uint64_t most = order->batch_tokens(at(slot));
  const bool joins = facts.running >= facts.limit && before < most &&
                     before + instance.queue[next().place].tokens <= most;
  if (joins && next().first) return Turn{true};  // there is no room to leave to others meanwhile
  return take_turn(facts, latest, [&] { return next().first; });
}

void Scheduler::State::expect_end(Slot slot, Time now) {
  InstanceState& instance = fleet.at(slot);
  instance.busy_until = now + from_seconds(static_cast<double>(instance.own.prefilling_tokens) *
                                           fleet.prefill_s_per_token(slot));
}

void Scheduler::State::note_room(Slot slot) {
  InstanceState& instance = fleet.at(slot);
  const bool room = fleet.running(slot, latest) < settings.prefill_limit;
  if (room && !instance.has_room) instance.room_since = latest;
  instance.has_room = room;
}

void Scheduler::State::pump_everywhere(Time now, Effects& effects) {
  for (std::size_t slot = 0; slot < fleet.slots(); ++slot) {
    pump(static_cast<Slot>(slot), now, effects);
  }
}

LiveRequest& Scheduler::State::next(Slot slot) const {
  const RequestQueue& queue = fleet.at(slot).queue;
  const std::size_t place = queue.size() == 1 ? 0 : order->next(queue, at(slot)).place;
  BOOST_ASSERT(place < queue.size());
  return *queue[place].request;
}

void Scheduler::State::room_made(Slot slot, Time now, Effects& effects) {
  const RequestQueue& queue = fleet.at(slot).queue;
  if (!queues && !queue.empty()) {
    // Left over from a policy that queued. The one that dispatches at once may keep the instance
    // above the limit for ever, so one goes for each that has got through.
    LiveRequest& first = next(slot);
    dispatch(first, first.uncached_tokens, slot, now, effects);
  }
  pump(slot, now, effects);
}

}  // namespace dualmesh::policies
