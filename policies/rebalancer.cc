#include "policies/rebalancer.h"

#include <algorithm>

namespace dualmesh::policies {

namespace {

constexpr std::uint32_t kMovesOfOne = 2;

}  // namespace

void Rebalancer::relieve(Slot source, const QueueOrder& order, const RebalanceRule& rule, Time now,
                         std::uint32_t& budget, Moves& moves) {
  if (budget == 0) return;
  const RequestQueue& queue = fleet_.at(source).queue;
  const double limit_s = rule.source_slos * fleet_.view().settings.slo_ttft_s;
  const bool hot = !queue.empty() && (fleet_.pending_s(source) > limit_s ||
                                      (rule.by_wait && fleet_.waited_too_long(source, now)));
  Time& hot_since = fleet_.at(source).hot_since;
  hot_ -= hot_since != Time::max() ? 1 : 0;
  hot_ += hot ? 1 : 0;
  hot_since = hot ? std::min(hot_since, now) : Time::max();
  if (!hot) return;

  // Every node that queues here sees the same excess and moves its share, or together they would
  // move it as many times over.
  const double nodes = sharers(source, now);
  const double excess_tokens = (static_cast<double>(fleet_.pending_tokens(source)) -
                                limit_s / fleet_.prefill_s_per_token(source)) /
                               nodes;
  Pass pass{source, order, now, moves, nodes};
  boost::container::small_vector<Plan, 64> plans;
  for (std::size_t place = queue.size(); place > 0 && budget > 0; --place, --budget) {
    const auto plan = examine(*queue[place - 1].request, pass);
    if (plan && plan->benefit_s > 0) plans.push_back(*plan);
  }

  const auto less_benefit = [](const Plan& a, const Plan& b) { return a.benefit_s < b.benefit_s; };
  double moved_tokens = 0;
  std::size_t looks_left = plans.size();
  bool current = true;  // no move since the plans were made
  while (!plans.empty()) {
    const auto best = std::max_element(plans.begin(), plans.end(), less_benefit);
    if (!current) {
      // A move only takes from what the others would gain, so the best is known once the largest
      // old figure has proved to be still true.
      if (looks_left-- == 0) return;
      const auto fresh = examine(*best->request, pass);
      if (!fresh || fresh->benefit_s <= 0) {
        plans.erase(best);
        continue;
      }
      const bool as_before = fresh->benefit_s >= best->benefit_s;
      *best = *fresh;
      if (!as_before && std::max_element(plans.begin(), plans.end(), less_benefit) != best) {
        continue;
      }
    }
    const Plan move = *best;
    plans.erase(best);
    moved_tokens += move.request->uncached_tokens;
    note_moved(move.target, move.uncached_tokens, now);
    ledger_.hold(*move.request);
    ledger_.enqueue(*move.request, move.target, move.uncached_tokens, move.rank);
    ++move.request->record.migrations;
    moves.push_back({move.request, source, move.target});
    current = false;
    if (excess_tokens > 0 && moved_tokens >= excess_tokens) return;
  }
}

bool Rebalancer::find_model(const LiveRequest& request, Pass& pass) const {
  if (pass.model != nullptr && pass.model_hash == request.model_hash) return true;
  pass.model = fleet_.model(request.arrival.model);
  if (pass.model == nullptr) return false;
  pass.model_hash = request.model_hash;
  const std::vector<Slot>& active = pass.model->view->active;
  pass.source_place = static_cast<std::size_t>(
      std::find(active.begin(), active.end(), pass.source) - active.begin());
  return true;
}

std::optional<Rebalancer::Plan> Rebalancer::examine(LiveRequest& request, Pass& pass) const {
  if (request.record.migrations >= kMovesOfOne) return std::nullopt;
  if (!find_model(request, pass)) return std::nullopt;
  Plan plan;
  plan.request = &request;
  plan.target = target_for(request, pass);
  if (plan.target == kNoSlot) return std::nullopt;
  plan.uncached_tokens = uncached_at(request, plan.target);
  plan.rank = pass.order.rank(request.arrival, request.arrival.input_tokens - plan.uncached_tokens);

  // Requests of other nodes wait beside our queue, not in it: they count in full on both sides.
  const auto ttft_s = [&](Slot slot, const QueueKey& key, std::uint32_t uncached_tokens) {
    const InstanceState& instance = fleet_.at(slot);
    const std::uint64_t before = instance.own.prefilling_tokens +
                                 fleet_.others(slot).pending_tokens() +
                                 instance.queue.tokens_before(key);
    return static_cast<double>(before + uncached_tokens) * fleet_.prefill_s_per_token(slot);
  };
  const QueueKey there{plan.rank, request.queue_key.arrived, request.queue_key.id};
  plan.benefit_s = ttft_s(request.slot, request.queue_key, request.uncached_tokens) -
                   ttft_s(plan.target, there, plan.uncached_tokens);
  return plan;
}

Slot Rebalancer::target_for(const LiveRequest& request, const Pass& pass) const {
  const PlacementContext context{fleet_, *pass.model, request.failed_at};
  const Slot other = request.candidates[request.candidates[0] == pass.source ? 1 : 0];
  if (other != pass.source && can_take(other, request, context, pass)) return other;

  const std::vector<Slot>& active = pass.model->view->active;
  for (std::size_t i = 1; i <= active.size(); ++i) {
    const Slot slot = active[(pass.source_place + i) % active.size()];
    if (slot == pass.source || slot == other || !context.usable(slot)) continue;
    return can_take(slot, request, context, pass) ? slot : kNoSlot;
  }
  return kNoSlot;
}

bool Rebalancer::can_take(Slot slot, const LiveRequest& request, const PlacementContext& context,
                          const Pass& pass) const {
  if (!context.usable(slot)) return false;
  if (fleet_.over_threshold(slot, 0)) return false;  // most need not look up what is cached
  const InstanceState& target = fleet_.at(slot);
  const auto lately =
      static_cast<double>(pass.now < target.moved_here_at + kLease ? target.moved_here_tokens : 0);
  const double room = fleet_.threshold_s() / fleet_.prefill_s_per_token(slot) -
                      static_cast<double>(fleet_.pending_tokens(slot)) + lately;
  if (lately + uncached_at(request, slot) > room / pass.nodes) return false;
  // Those we have just moved there bring their long wait along; it says nothing against the place.
  const bool ours = std::any_of(pass.moves.begin(), pass.moves.end(),
                                [&](const Move& move) { return move.to == slot; });
  return ours || !fleet_.waited_too_long(slot, pass.now);
}

double Rebalancer::sharers(Slot source, Time now) const {
  const FleetView& view = fleet_.view();
  const double known = 1.0 + view.instances[source].others_queueing;
  if (now - fleet_.at(source).hot_since >= kLease) return known;
  return std::max(known, static_cast<double>(view.live_nodes));
}

void Rebalancer::note_moved(Slot target, std::uint32_t tokens, Time now) {
  InstanceState& instance = fleet_.at(target);
  if (now >= instance.moved_here_at + kLease) instance.moved_here_tokens = 0;
  instance.moved_here_at = now;
  instance.moved_here_tokens += tokens;
}

std::uint32_t Rebalancer::uncached_at(const LiveRequest& request, Slot slot) const {
  return request.arrival.input_tokens - hit_tokens(request.arrival, slot);
}

}  // namespace dualmesh::policies
