#include "policies/placement/preble.h"

#include <functional>
#include <utility>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

constexpr std::size_t kChain = 3;          // instances relieved in one balancing
constexpr double kSlowdown = 2;            // of first tokens, that asks for a second home
constexpr std::uint32_t kLeastShared = 2;  // requests from which on a prefix can be moved

std::uint64_t hash_of(const std::string& model) { return std::hash<std::string>{}(model); }

}  // namespace

double Preble::mean_output() const {
  if (outputs_seen_ == 0) return kInitialOutput;
  const auto kept = std::min<std::uint64_t>(outputs_seen_, outputs_.size());
  return static_cast<double>(outputs_sum_) / static_cast<double>(kept);
}

double Preble::tpot_s(Slot slot) const {
  return slot < tpots_.size() ? tpots_[slot].s_per_token() : kInitialTpotS;
}

double Preble::prefill_s(const PlacementContext& context, Slot slot) const {
  return static_cast<double>(window_.tokens(slot, context.now)) *
         context.fleet.prefill_s_per_token(slot) * std::max(context.fleet.view().live_nodes, 1U);
}

double Preble::decoding_s(const PlacementContext& context, Slot slot) const {
  return load_of(context.fleet, slot).requests() * mean_output() * tpot_s(slot);
}

Choice Preble::choose(const PlacementRequest& request, const PlacementContext& context,
                      Random& random) const {
  const std::uint32_t longest = longest_hit(request, context);
  const bool exploit = longest > request.arrival.input_tokens - longest;
  BlockKey key = 0;
  const PrebleWindow::Prefix* prefix =
      exploit ? window_.deepest(request.arrival.chain, key) : nullptr;
  bool moved = false;
  bool decoders = false;
  const auto decodes = [&](Slot slot) {
    return decoding_s(context, slot) > decode_ * prefill_s(context, slot);
  };
  for_each_usable(context, [&](Slot slot) {
    moved |= prefix != nullptr && prefix->moved && prefix->is_at(slot);
    decoders |= !exploit && decode_ > 0 && decodes(slot);
  });
  const auto second_best = [&](Slot slot) {
    if (!exploit) return decoders && !decodes(slot);
    return moved ? !prefix->is_at(slot) : hit_at(request, context, slot) < longest;
  };
  const auto load = [&](Slot slot) { return prefill_s(context, slot) + decoding_s(context, slot); };
  const auto cost = [&](Slot slot) {
    const std::uint32_t miss = request.arrival.input_tokens - hit_at(request, context, slot);
    return std::pair(second_best(slot),
                     load(slot) + miss * context.fleet.prefill_s_per_token(slot));
  };
  const Choice choice = choose_least(request, context, random, cost,
                                     exploit ? Reason::longest_hit : Reason::best_score);
  if (!exploit || choice.backup == kNoSlot) return choice;
  const auto [least_s, most_s] = range_of(context, load);
  if (load(choice.primary) < most_s || most_s <= balance_ * least_s) return choice;
  return choose_least(request, context, random, load, Reason::spilled);
}

void Preble::taken(const PlacementRequest& request, const PlacementContext& context,
                   const Choice& choice) {
  const Arrival& arrival = request.arrival;
  const std::uint32_t longest = longest_hit(request, context);
  PrebleWindow::Sent sent;
  sent.id = arrival.id;
  sent.model = hash_of(arrival.model);
  sent.slot = choice.primary;
  sent.uncached = arrival.input_tokens - hit_at(request, context, choice.primary);
  const bool exploited = longest > arrival.input_tokens - longest;
  if (!exploited || window_.deepest(arrival.chain, sent.prefix) == nullptr) {
    sent.prefix = arrival.chain.prefix_key(std::max<std::size_t>(arrival.chain.blocks.size(), 1));
  }
  window_.sent(sent, context.now);
  rebalance(context, sent.model);
}

void Preble::first_token(const Arrival& arrival, Slot, Duration since_submit) {
  window_.first_token(arrival.id, since_submit);
}

void Preble::ended(const Arrival& arrival, Slot slot, const Service& service) {
  window_.ended(arrival.id);
  if (!service.finished || service.output_tokens == 0) return;
  std::uint32_t& place = outputs_[outputs_seen_++ % outputs_.size()];
  outputs_sum_ += service.output_tokens;
  outputs_sum_ -= std::exchange(place, service.output_tokens);
  if (slot >= tpots_.size()) tpots_.resize(slot + 1U, PrefillEstimator(kInitialTpotS));
  // The first token came before what is timed.
  tpots_[slot].add(service.decoding, service.output_tokens - 1);
}

double Preble::cost_s(const PrebleWindow::Prefix& prefix, const PlacementContext& context,
                      Slot slot) const {
  const auto running = std::count(prefix.running.begin(), prefix.running.end(), slot);
  return static_cast<double>(prefix.share()) * context.fleet.prefill_s_per_token(slot) +
         static_cast<double>(running) * mean_output() * tpot_s(slot);
}

void Preble::rebalance(const PlacementContext& context, std::uint64_t model) {
  if (rebalance_ == 0 || context.now < balanced_ + kBalanceEvery) return;
  balanced_ = context.now;
  std::vector<Loaded> loads;
  for_each_usable(context, [&](Slot slot) { loads.push_back({slot, 0}); });
  if (loads.size() < 2 || window_.requests_seen() < kBalanceFrom * loads.size()) return;
  window_.for_each([&](BlockKey, const PrebleWindow::Prefix& prefix) {
    if (prefix.model != model || prefix.requests < kLeastShared) return;
    for (Loaded& one : loads) {
      if (prefix.is_at(one.slot)) one.load_s += cost_s(prefix, context, one.slot);
    }
  });
  std::sort(loads.begin(), loads.end(),
            [](const Loaded& a, const Loaded& b) { return a.load_s > b.load_s; });
  for (std::size_t i = 0; i < kChain && i + 1 < loads.size(); ++i) {
    if (loads[i].load_s < rebalance_ * loads.back().load_s) return;
    relieve(loads[i], loads.back(), context, model);
  }
}

void Preble::relieve(Loaded& most, Loaded& least, const PlacementContext& context,
                     std::uint64_t model) {
  std::vector<Movable> movable;
  window_.for_each([&](BlockKey key, const PrebleWindow::Prefix& prefix) {
    if (prefix.model != model || prefix.requests < kLeastShared || !prefix.is_at(most.slot)) return;
    movable.push_back({cost_s(prefix, context, most.slot), key, prefix.assigned});
  });
  if (movable.size() == 1) {
    Movable& only = movable.front();
    const bool there =
        std::find(only.assigned.begin(), only.assigned.end(), least.slot) != only.assigned.end();
    if (there || window_.slowdown(only.prefix, most.slot, context.now) < kSlowdown) return;
    only.assigned.push_back(least.slot);
    window_.move(only.prefix, only.assigned);
    most.load_s -= only.cost_s / 2;
    least.load_s += only.cost_s / 2;
    return;
  }
  std::sort(movable.begin(), movable.end(), [](const Movable& a, const Movable& b) {
    return std::pair(a.cost_s, a.prefix) < std::pair(b.cost_s, b.prefix);
  });
  for (const Movable& one : movable) {
    if (most.load_s < rebalance_ * least.load_s) return;
    if (most.load_s < least.load_s + one.cost_s) return;
    window_.move(one.prefix, {least.slot});
    most.load_s -= one.cost_s;
    least.load_s += one.cost_s;
  }
}

}  // namespace dualmesh::policies
