#include "policies/placement/lmetric.h"

#include <optional>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

double score(const PlacementRequest& request, const PlacementContext& context, Slot slot) {
  const std::uint32_t miss = request.arrival.input_tokens - hit_at(request, context, slot);
  const auto prefill = static_cast<double>(context.fleet.pending_tokens(slot) + miss);
  return prefill * (load_of(context.fleet, slot).requests() + 1.0);
}

// It has the prefix that makes the class.
bool holds(const PlacementRequest& request, const PlacementContext& context, Slot slot) {
  const auto& hits = request.arrival.hit_tokens;
  const std::uint64_t prefix = std::uint64_t{std::max(request.depth, 1U)} *
                               std::max(block_tokens(request.arrival, context.fleet), 1U);
  return slot < hits.size() && hits[slot] >= prefix;
}

}  // namespace

LMetric::Traffic LMetric::traffic(const PlacementRequest& request, Time now) const {
  Traffic traffic{1, 0, 0};  // this one included
  const auto model = windows_.find(request.arrival.model);
  if (model == windows_.end()) return traffic;
  const Window& window = model->second;
  const auto mine = window.classes.find(request.ring_key);
  if (mine != window.classes.end()) {
    traffic.of_class += mine->second.arrivals;
    traffic.in_a_row = mine->second.in_a_row;
  }
  traffic.of_others = static_cast<double>(window.seen.size()) - (traffic.of_class - 1);
  // What has left the window since it was last tidied.
  for (auto old = window.seen.begin(); old != window.seen.end() && old->at + window_ <= now;
       ++old) {
    (old->key == request.ring_key ? traffic.of_class : traffic.of_others) -= 1;
  }
  return traffic;
}

LMetric::Judgement LMetric::judge(const PlacementRequest& request,
                                  const PlacementContext& context) const {
  double holders = 0;
  double others = 0;
  std::optional<double> best_holder;
  std::optional<double> best_other;
  for_each_usable(context, [&](Slot slot) {
    const bool holder = holds(request, context, slot);
    (holder ? holders : others) += 1;
    std::optional<double>& best = holder ? best_holder : best_other;
    const double value = score(request, context, slot);
    if (!best || value < *best) best = value;
  });
  if (!best_holder || !best_other) return {};

  const auto [of_class, of_others, in_a_row] = traffic(request, context.now);
  const bool alarmed = of_class * others > of_others * holders;
  if (!alarmed || *best_holder > *best_other) return {};
  return {true, in_a_row + 1.0 >= 2 * holders};
}

Choice LMetric::choose(const PlacementRequest& request, const PlacementContext& context,
                       Random& random) const {
  const auto by_score = [&](Slot slot) { return score(request, context, slot); };
  if (!guard_ || !judge(request, context).confirmed) {
    return choose_least(request, context, random, by_score, Reason::best_score);
  }
  // Holders come after all others.
  const auto outside_first = [&](Slot slot) {
    return std::pair(holds(request, context, slot), by_score(slot));
  };
  return choose_least(request, context, random, outside_first, Reason::spilled);
}

void LMetric::taken(const PlacementRequest& request, const PlacementContext& context,
                    const Choice&) {
  if (!guard_) return;
  const Judgement judgement = judge(request, context);
  Window& window = windows_[request.arrival.model];
  while (!window.seen.empty() && window.seen.front().at + window_ <= context.now) {
    window.drop_oldest();
  }
  if (window.seen.size() == kMaxArrivals) {
    ++forgotten_;
    window.drop_oldest();
  }
  window.seen.push_back({context.now, request.ring_key});
  Class& mine = window.classes[request.ring_key];
  ++mine.arrivals;
  mine.in_a_row = judgement.suspicious ? mine.in_a_row + 1 : 0;
}

void LMetric::Window::drop_oldest() {
  const auto mine = classes.find(seen.front().key);
  if (--mine->second.arrivals == 0) classes.erase(mine);
  seen.pop_front();
}

}  // namespace dualmesh::policies
