// How requests leave their instances: ended, failed over, moved, placed anew.
#include <algorithm>
#include <boost/assert.hpp>

#include "policies/scheduler_state.h"

namespace dualmesh::policies {

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
  const ModelState* model = fleet.model(request.arrival.model);
  Effects::Rejection rejection{request.arrival.id, Rejected::unknown_model};
  if (model != nullptr) {
    rejection.why = Rejected::no_instance;
    for (const Slot slot : model->view->active) {
      if (!fleet.serves(slot, model->panicking) || !fleet.full(slot)) continue;
      if (std::find(request.failed_at.begin(), request.failed_at.end(), slot) !=
          request.failed_at.end()) {
        continue;
      }
      const double wait_s = fleet.pending_s(slot);
      const bool first = rejection.why != Rejected::full;
      rejection.wait_s = first ? wait_s : std::min(rejection.wait_s, wait_s);
      rejection.why = Rejected::full;
    }
  }
  effects.rejected.push_back(rejection);
  end(request, outcome);
}

void Scheduler::State::answered_there(LiveRequest& request, bool seen, Time now, Effects& effects) {
  if (seen) request.record.ttft_s = to_seconds(now - request.arrived);
  ledger.answered_there(request);
  admit(now, effects);  // another may follow it
}

void Scheduler::State::retry(LiveRequest& request, Slot failed_at, Time now, Effects& effects) {
  if (failed_at != kNoSlot) request.failed_at.push_back(failed_at);
  request.record.ttft_s = 0;
  ++request.record.retries;
  if (place(request, Reason::retried, now, effects)) {
    ++totals.retried;
  } else {
    reject(request, Outcome::failed, effects);
  }
}

void Scheduler::State::rebalance_everywhere(Time now, Effects& effects) {
  if (!rebalancer.has_work() || !policy->rebalances()) return;
  const RebalanceRule rule = policy->rebalance_rule();
  Rebalancer::Moves moves;
  std::uint32_t budget = settings.rebalance_examine_limit;
  const std::size_t first = rebalance_from % fleet.slots();
  for (std::size_t i = 0; i < fleet.slots() && budget > 0; ++i) {
    const auto slot = static_cast<Slot>((first + i) % fleet.slots());
    if (!rebalancer.has_work(slot)) continue;
    rebalancer.relieve(slot, *order, rule, now, budget, moves);
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
  rebalancer.relieve(primary, *order, policy->rebalance_rule(), now, budget, moves);
  rebalancer.relieve(backup, *order, policy->rebalance_rule(), now, budget, moves);
  carry_out(moves, now, effects);
}

void Scheduler::State::carry_out(const Rebalancer::Moves& moves, Time now, Effects& effects) {
  for (const Rebalancer::Move& move : moves) {
    DecisionRecord& record = move.request->record;
    record.chosen = move.to;
    record.backup = move.from;
    record.reason = Reason::rebalanced;
    ++totals.migrations;
    effects.placed.push_back({move.request->arrival.id, move.to});
    order->queued(move.request->arrival, at(move.to));
    order->left(move.request->arrival, at(move.from));
  }
  for (const Rebalancer::Move& move : moves) pump(move.to, now, effects);
}

bool Scheduler::State::stranded(const LiveRequest& request) const {
  const ModelState* model = fleet.model(request.arrival.model);
  if (model == nullptr || !fleet.serves(request.slot, model->panicking)) return true;
  const std::vector<Slot>& active = model->view->active;
  return std::find(active.begin(), active.end(), request.slot) == active.end();
}

void Scheduler::State::replace_stranded(bool everywhere, Time now, Effects& effects) {
  std::vector<LiveRequest*> homeless;
  for (std::size_t slot = 0; slot < fleet.slots(); ++slot) {
    const RequestQueue& queue = fleet.at(static_cast<Slot>(slot)).queue;
    if (queue.empty()) continue;
    if (!everywhere && fleet.serves(static_cast<Slot>(slot), false)) continue;
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

}  // namespace dualmesh::policies
