#include "policies/scheduler.h"

#include <algorithm>
#include <boost/assert.hpp>
#include <limits>

#include "policies/policy_registry.h"
#include "policies/scheduler_state.h"

namespace dualmesh::policies {

namespace {

std::uint32_t to_ms(Duration left) {
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(left).count();
  return static_cast<std::uint32_t>(std::clamp(ms, std::int64_t{0}, kMost));
}

}  // namespace

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
  if (request.stage == Stage::away) return;  // it is observed where it is placed
  s.depth.observe(request.arrival.chain, facts.depth, s.fleet.view().depth.get(), now);
  s.rebalance_arrival(request, now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::first_token(RequestId id, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr) return;
  if (request->stage == Stage::away) return s.answered_there(*request, true, now, effects);
  if (request->stage != Stage::prefilling) return;
  const Slot slot = request->slot;
  request->record.ttft_s = to_seconds(now - request->arrived);
  s.ledger.first_token(*request, now);
  s.policy->first_token(request->arrival, slot, now - request->arrived);
  s.expect_end(slot, now);
  s.room_made(slot, now, effects);
  s.rebalance_everywhere(now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::prefill_presumed(RequestId id, Time now, Effects& effects) {
  State& s = *state_;
  s.latest = now;
  LiveRequest* request = s.ledger.find(id);
  if (request == nullptr) return;
  if (request->stage == Stage::away) return s.answered_there(*request, false, now, effects);
  if (request->stage != Stage::prefilling) return;
  const Slot slot = request->slot;
  request->work_at_dispatch = 0;  // a presumption teaches nothing
  request->behind_one = false;
  const Time ended = s.fleet.at(slot).prefill_ended;
  s.ledger.first_token(*request, now);
  s.fleet.at(slot).prefill_ended = ended;  // nor by the one behind it
  s.expect_end(slot, now);
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
  if (request->stage == Stage::away) {  // the node that placed it counts its tokens
    s.leave(*request, now, effects);
    s.end(*request, Outcome::finished);
    s.admit(now, effects);
    return;
  }
  s.totals.input_tokens += usage.prompt_tokens != 0 ? usage.prompt_tokens : arrival.input_tokens;
  s.totals.predicted_hit_tokens += hit_tokens(arrival, request->record.chosen);
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
  const bool was_away = request->stage == Stage::away;
  const Slot slot = was_away ? kNoSlot : request->slot;
  if (slot != kNoSlot) ++s.fleet.at(slot).failed;
  if (slot != kNoSlot || was_away) {
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
  s.fleet.set_view(std::move(view), now);
  s.use(s.fleet.view().settings);
  s.replace_stranded(rings_changed, now, effects);
  s.admit(now, effects);
  if (s.queues) s.pump_everywhere(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::set_health(Slot slot, bool healthy, Time now, Effects& effects,
                           std::uint32_t trial) {
  State& s = *state_;
  s.latest = now;
  if (!s.fleet.set_health(slot, healthy, trial)) return;
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
  if (s.queues) s.pump_everywhere(now, effects);
  s.rebalance_everywhere(now, effects);
  s.admit(now, effects);
  effects.load_changed |= s.ledger.changed();
}

void Scheduler::take_load_changes(Time now, std::vector<std::pair<Slot, Load>>& out) {
  State& s = *state_;
  s.latest = now;
  s.ledger.take_changes(now, out, [&s, now](Slot slot, Load& load) {
    if (load.prefilling_requests > 0) {
      load.prefill_left_ms = to_ms(s.fleet.at(slot).busy_until - now);
    }
    if (s.queues && s.order->shared() && load.queued_requests > 0) {
      s.order->tell(s.fleet.at(slot).queue, s.at(slot), load.waiting);
    }
  });
}

void Scheduler::take_depth_proposals(std::vector<DepthProposal>& out) {
  state_->depth.take_proposals(out);
}

}  // namespace dualmesh::policies
