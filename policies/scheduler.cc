#include "policies/scheduler.h"

#include <algorithm>
#include <boost/assert.hpp>

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
  if (wanted.policy != policy_spec) {
    if (auto named = make_policy(wanted.policy)) {
      policy = std::move(named);
      policy_spec = wanted.policy;
    }
  }
  const bool own = wanted.queue.empty() || !is_queue_order(wanted.queue);
  const std::string_view spec = own ? policy->default_order() : std::string_view(wanted.queue);
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
  if (choice.wait && !request.waits) waiting.enter(request);
  if (choice.primary == kNoSlot) return choice.wait;
  policy->taken(facts, context, choice);
  request.candidates = {choice.candidates[0].slot, choice.candidates[1].slot};
  if (why != Reason::none) request.record.reason = why;
  if (!fleet.view().rings_agree) ++totals.decisions_under_disagreement;

  const Slot slot = choice.primary;
  const std::uint32_t hit = hit_tokens(request.arrival, slot, settings.block_tokens);
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

void Scheduler::State::dispatch(LiveRequest& request, std::uint32_t uncached_tokens, Slot slot,
                                Time now, Effects& effects) {
  if (request.stage == Stage::queued) order->left(request.arrival, at(request.slot));
  ledger.dispatch(request, slot, uncached_tokens, now);
  order->dispatched(request.arrival, uncached_tokens, at(slot));
  request.record.queued_s = to_seconds(now - request.arrived);
  const std::uint64_t work =
      fleet.at(slot).own.prefilling_tokens + fleet.others(slot).prefilling_tokens;
  effects.dispatched.push_back(
      {request.arrival.id, slot, static_cast<double>(work) * fleet.prefill_s_per_token(slot)});
}

void Scheduler::State::pump(Slot slot, Time now, Effects& effects) {
  const InstanceState& instance = fleet.at(slot);
  while (!instance.queue.empty() && instance.own.prefilling_requests < settings.prefill_limit) {
    LiveRequest& first = next(slot, now);
    dispatch(first, first.uncached_tokens, slot, now, effects);
  }
}

void Scheduler::State::admit(Time now, Effects& effects) {
  if (waiting.empty()) return;
  std::vector<LiveRequest*> homeless;
  waiting.let_in([&](LiveRequest& request) {
    const Reason why = request.failed_at.empty() ? Reason::none : Reason::retried;
    if (place(request, why, now, effects)) return request.stage != Stage::held;
    homeless.push_back(&request);
    return true;
  });
  for (LiveRequest* request : homeless) {
    const bool failed = !request->failed_at.empty();
    reject(*request, failed ? Outcome::failed : Outcome::rejected, effects);
  }
}

LiveRequest& Scheduler::State::next(Slot slot, Time now) const {
  const RequestQueue& queue = fleet.at(slot).queue;
  const std::size_t place = order->next(queue, {fleet, slot, now});
  BOOST_ASSERT(place < queue.size());
  return *queue[place].request;
}

void Scheduler::State::room_made(Slot slot, Time now, Effects& effects) {
  const RequestQueue& queue = fleet.at(slot).queue;
  if (!queues && !queue.empty()) {
    // Left over from a policy that queued. The one that dispatches at once may keep the instance
    // above the limit for ever, so one goes for each that has got through.
    LiveRequest& first = next(slot, now);
    dispatch(first, first.uncached_tokens, slot, now, effects);
  }
  pump(slot, now, effects);
}

void Scheduler::State::leave(LiveRequest& request, Time now, Effects& effects) {
  const Slot slot = request.slot;
  const bool made_room = request.stage == Stage::prefilling;
  if (request.stage == Stage::queued) order->left(request.arrival, at(slot));
  ledger.hold(request);
  if (made_room) room_made(slot, now, effects);
}

void Scheduler::State::end(LiveRequest& request, Outcome outcome, std::uint32_t output_tokens) {
  request.record.outcome = outcome;
  if (request.waits) waiting.leave(request);
  if (outcome != Outcome::rejected && request.record.chosen != kNoSlot) {
    const double ttft_s = request.record.ttft_s;
    const Duration decoding =
        ttft_s > 0 ? latest - request.arrived - from_seconds(ttft_s) : Duration{};
    policy->ended(request.arrival, request.record.chosen,
                  {output_tokens, outcome == Outcome::finished, decoding});
    order->produced(request.arrival, output_tokens, at(request.record.chosen));
  }
  switch (outcome) {
    case Outcome::finished:
      ++totals.finished;
      break;
    case Outcome::failed:
      ++totals.failed;
      break;
    case Outcome::cancelled:
      ++totals.cancelled;
      break;
    case Outcome::rejected:
      ++totals.rejected;
      break;
    case Outcome::pending:
      BOOST_ASSERT(false);
      break;
  }
  log.add(request.record);
  ledger.close(request);
}

void Scheduler::State::reject(LiveRequest& request, Outcome outcome, Effects& effects) {
  const bool known = fleet.model(request.arrival.model) != nullptr;
  effects.rejected.push_back(
      {request.arrival.id, known ? Rejected::no_instance : Rejected::unknown_model});
  end(request, outcome);
}

void Scheduler::State::retry(LiveRequest& request, Slot failed_at, Time now, Effects& effects) {
  request.failed_at.push_back(failed_at);
  request.record.ttft_s = 0;
  ++request.record.retries;
  if (place(request, Reason::retried, now, effects)) {
    ++totals.retried;
  } else {
    reject(request, Outcome::failed, effects);
  }
}

void Scheduler::State::rebalance_everywhere(Time now, Effects& effects) {
  if (!policy->rebalances() || fleet.slots() == 0) return;
  Rebalancer::Moves moves;
  std::uint32_t budget = settings.rebalance_examine_limit;
  const std::size_t first = rebalance_from % fleet.slots();
  for (std::size_t i = 0; i < fleet.slots() && budget > 0; ++i) {
    const auto slot = static_cast<Slot>((first + i) % fleet.slots());
    rebalancer.relieve(slot, *order, now, budget, moves);
    if (budget == 0) rebalance_from = slot + 1U;
  }
  carry_out(moves, now, effects);
}

void Scheduler::State::rebalance_arrival(const LiveRequest& request, Time now, Effects& effects) {
  const Slot primary = request.record.chosen;
  const Slot backup = request.record.backup;
  if (!policy->rebalances() || backup == kNoSlot || request.stage != Stage::queued) return;
  if (!fleet.overloaded(primary, now) || !fleet.overloaded(backup, now)) return;
  Rebalancer::Moves moves;
  std::uint32_t budget = settings.rebalance_examine_limit;
  rebalancer.relieve(primary, *order, now, budget, moves);
  rebalancer.relieve(backup, *order, now, budget, moves);
  carry_out(moves, now, effects);
}

void Scheduler::State::carry_out(const Rebalancer::Moves& moves, Time now, Effects& effects) {
  for (const Rebalancer::Move& move : moves) {
    DecisionRecord& record = move.request->record;
    record.chosen = move.to;
    record.backup = move.from;
    record.reason = Reason::rebalanced;
    ++record.migrations;
    ++totals.migrations;
    effects.placed.push_back({move.request->arrival.id, move.to});
    order->queued(move.request->arrival, at(move.to));
    order->left(move.request->arrival, at(move.from));
  }
  for (const Rebalancer::Move& move : moves) pump(move.to, now, effects);
}

bool Scheduler::State::stranded(const LiveRequest& request) const {
  const ModelState* model = fleet.model(request.arrival.model);
  if (model == nullptr || !fleet.usable(request.slot, model->panicking)) return true;
  const std::vector<Slot>& active = model->view->active;
  return std::find(active.begin(), active.end(), request.slot) == active.end();
}

void Scheduler::State::replace_stranded(bool everywhere, Time now, Effects& effects) {
  std::vector<LiveRequest*> homeless;
  for (std::size_t slot = 0; slot < fleet.slots(); ++slot) {
    const RequestQueue& queue = fleet.at(static_cast<Slot>(slot)).queue;
    if (queue.empty()) continue;
    if (!everywhere && fleet.usable(static_cast<Slot>(slot), false)) continue;
    for (std::size_t i = 0; i < queue.size(); ++i) {
      if (stranded(*queue[i].request)) homeless.push_back(queue[i].request);
    }
  }
  std::vector<Slot> left;
  for (LiveRequest* request : homeless) {
    left.push_back(request->slot);
    ledger.hold(*request);
  }
  for (std::size_t i = 0; i < homeless.size(); ++i) {
    const bool placed = place(*homeless[i], Reason::replaced, now, effects);
    order->left(homeless[i]->arrival, at(left[i]));
    if (!placed) reject(*homeless[i], Outcome::rejected, effects);
  }
}

Scheduler::Scheduler(SchedulerSettings settings) : state_(std::make_unique<State>(settings)) {}
Scheduler::~Scheduler() = default;

void Scheduler::submit(Arrival arrival, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  ++s.totals.submitted;
  LiveRequest& request = s.ledger.open(std::move(arrival), now);
  const PlacementRequest facts = s.facts_of(request.arrival, now);
  s.describe(request.record, facts, now);
  if (!s.place(request, Reason::none, now, effects)) {
    s.reject(request, Outcome::rejected, effects);
    return;
  }
  s.depth.observe(request.arrival.chain, facts.depth, s.fleet.view().depth.get(), now);
  s.rebalance_arrival(request, now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::first_token(RequestId id, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr || request->stage != Stage::prefilling) return;
  const Slot slot = request->slot;
  request->record.ttft_s = to_seconds(now - request->arrived);
  s.ledger.first_token(*request, now);
  s.policy->first_token(request->arrival, slot, now - request->arrived);
  s.room_made(slot, now, effects);
  s.rebalance_everywhere(now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::prefill_presumed(RequestId id, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr || request->stage != Stage::prefilling) return;
  const Slot slot = request->slot;
  request->work_at_dispatch = 0;  // a presumption teaches nothing
  s.ledger.first_token(*request, now);
  s.room_made(slot, now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::finished(RequestId id, const Usage& usage, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr) return;
  const Arrival& arrival = request->arrival;
  s.totals.input_tokens += usage.prompt_tokens != 0 ? usage.prompt_tokens : arrival.input_tokens;
  s.totals.predicted_hit_tokens +=
      hit_tokens(arrival, request->record.chosen, s.settings.block_tokens);
  s.totals.reported_cached_tokens += usage.cached_tokens;
  request->record.cached_tokens = usage.cached_tokens;
  if (request->slot != kNoSlot) ++s.fleet.at(request->slot).completed;
  s.leave(*request, now, effects);
  s.end(*request, Outcome::finished, usage.output_tokens);
  s.rebalance_everywhere(now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::cancelled(RequestId id, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr) return;
  s.leave(*request, now, effects);
  s.end(*request, Outcome::cancelled);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::failed(RequestId id, bool retry, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr) return;
  const Slot slot = request->slot;
  if (slot != kNoSlot) {
    ++s.fleet.at(slot).failed;
    s.leave(*request, now, effects);
    if (retry) s.retry(*request, slot, now, effects);
  }
  if (!retry) s.end(*request, Outcome::failed);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::set_view(std::shared_ptr<const FleetView> view, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  BOOST_ASSERT(view != nullptr);
  const bool rings_changed = view->ring_digest != s.fleet.view().ring_digest;
  s.fleet.set_view(std::move(view));
  s.use(s.fleet.view().settings);
  s.replace_stranded(rings_changed, now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::set_health(Slot slot, bool healthy, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  if (!s.fleet.set_health(slot, healthy)) return;
  s.replace_stranded(false, now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::tick(Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  const double limit_s = s.settings.overload_wait_s;
  for (std::size_t i = 0; i < s.fleet.slots(); ++i) {
    const auto slot = static_cast<Slot>(i);
    const RequestQueue& queue = s.fleet.at(slot).queue;
    if (!queue.empty() && to_seconds(now - queue.oldest()) >= limit_s) {
      s.ledger.mark_waiting_long(slot, static_cast<std::uint32_t>(limit_s * 1000));
    }
  }
  s.rebalance_everywhere(now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::take_load_changes(Time now, std::vector<std::pair<Slot, Load>>& out) {
  state_->ledger.take_changes(now, out);
}

void Scheduler::take_depth_proposals(std::vector<DepthProposal>& out) {
  state_->depth.take_proposals(out);
}

}  // namespace dualmesh::policies
