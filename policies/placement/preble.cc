#include "policies/placement/preble.h"

#include <utility>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

double Preble::mean_output() const {
  if (outputs_seen_ == 0) return kInitialOutput;
  const auto kept = std::min<std::uint64_t>(outputs_seen_, outputs_.size());
  return static_cast<double>(outputs_sum_) / static_cast<double>(kept);
}

double Preble::load_s(const PlacementContext& context, Slot slot) const {
  if (slot >= sums_.size()) return 0;
  const Sums& sums = sums_[slot];
  std::uint64_t requests = sums.requests;
  std::uint64_t uncached = sums.uncached;
  // What has left the window since it was last tidied.
  for (auto old = sent_.begin(); old != sent_.end() && old->at + window_ <= context.now; ++old) {
    if (old->slot != slot) continue;
    --requests;
    uncached -= old->uncached;
  }
  const Fleet& fleet = context.fleet;
  const double seconds = static_cast<double>(uncached) * fleet.prefill_s_per_token(slot) +
                         static_cast<double>(requests) * mean_output() * sums.tpot.s_per_token();
  return seconds * std::max(fleet.view().live_nodes, 1U);
}

Choice Preble::choose(const PlacementRequest& request, const PlacementContext& context,
                      Random& random) const {
  const std::uint32_t longest = longest_hit(request, context);
  const bool exploit = longest > request.arrival.input_tokens - longest;
  const auto load = [&](Slot slot) { return load_s(context, slot); };
  const auto cost = [&](Slot slot) {
    const std::uint32_t hit = hit_at(request, context, slot);
    const double prefill_s =
        (request.arrival.input_tokens - hit) * context.fleet.prefill_s_per_token(slot);
    return std::pair(exploit && hit < longest, load(slot) + prefill_s);
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
  while (!sent_.empty() && sent_.front().at + window_ <= context.now) drop_oldest();
  if (sent_.size() == kMaxRequests) {
    ++forgotten_;
    drop_oldest();
  }
  const Slot slot = choice.primary;
  if (slot >= sums_.size()) sums_.resize(slot + 1U);
  const std::uint32_t uncached = request.arrival.input_tokens - hit_at(request, context, slot);
  sent_.push_back({context.now, slot, uncached});
  ++sums_[slot].requests;
  sums_[slot].uncached += uncached;
}

void Preble::ended(const Arrival&, Slot slot, const Service& service) {
  if (!service.finished || service.output_tokens == 0) return;
  std::uint32_t& place = outputs_[outputs_seen_++ % outputs_.size()];
  outputs_sum_ += service.output_tokens;
  outputs_sum_ -= std::exchange(place, service.output_tokens);
  // Placed by another policy perhaps; the first token came before what is timed.
  if (slot < sums_.size()) sums_[slot].tpot.add(service.decoding, service.output_tokens - 1);
}

void Preble::drop_oldest() {
  const Sent& oldest = sent_.front();
  --sums_[oldest.slot].requests;
  sums_[oldest.slot].uncached -= oldest.uncached;
  sent_.pop_front();
}

}  // namespace dualmesh::policies
