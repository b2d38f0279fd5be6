#include "policies/placement/d2lpm.h"

#include <cmath>
#include <limits>
#include <tuple>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

double at(const std::vector<double>* credits, Slot slot) {
  return credits != nullptr && slot < credits->size() ? (*credits)[slot] : 0;
}

}  // namespace

const D2lpm::Credits* D2lpm::credits_of(std::uint64_t client) const {
  const auto found = clients_.find(client);
  return found == clients_.end() ? nullptr : &found->second;
}

double D2lpm::credit(std::uint64_t client, Slot slot) const { return at(credits_of(client), slot); }

double D2lpm::rounds(const Credits* credits, const PlacementContext& context) const {
  double least = std::numeric_limits<double>::infinity();
  for_each_usable(context, [&](Slot slot) {
    const double held = at(credits, slot);
    least = std::min(least, held > 0 ? 0 : std::floor(-held / quantum_) + 1);
  });
  return least;
}

Choice D2lpm::choose(const PlacementRequest& request, const PlacementContext& context,
                     Random& random) const {
  const Credits* credits = credits_of(request.arrival.client);
  const double refill = rounds(credits, context) * quantum_;
  const std::uint32_t longest = longest_hit(request, context);
  const auto holds = [&](Slot slot) { return hit_at(request, context, slot) == longest; };
  const auto cost = [&](Slot slot) {
    const bool poor = at(credits, slot) + refill <= 0;
    return std::tuple(poor, !holds(slot), load_of(context.fleet, slot).requests());
  };
  Choice choice = choose_least(request, context, random, cost);
  if (choice.reason != Reason::least_load || longest == 0) return choice;
  choice.reason = holds(choice.primary) ? Reason::longest_hit : Reason::spilled;
  return choice;
}

void D2lpm::taken(const PlacementRequest& request, const PlacementContext& context,
                  const Choice& choice) {
  const std::uint64_t client = request.arrival.client;
  if (clients_.size() >= kMaxClients && !clients_.contains(client)) {
    clients_.clear();
    ++begun_anew_;
  }
  Credits& credits = clients_[client];
  const double refill = rounds(&credits, context) * quantum_;
  if (credits.size() < context.fleet.slots()) credits.resize(context.fleet.slots());
  for_each_usable(context, [&](Slot slot) { credits[slot] += refill; });
  const Slot slot = choice.primary;
  credits[slot] -= extend_ * (request.arrival.input_tokens - hit_at(request, context, slot));
}

void D2lpm::ended(const Arrival& arrival, Slot slot, const Service& service) {
  const auto found = clients_.find(arrival.client);
  if (found == clients_.end() || slot >= found->second.size()) return;
  found->second[slot] -= output_ * service.output_tokens;
}

}  // namespace dualmesh::policies
