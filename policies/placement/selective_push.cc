#include "policies/placement/selective_push.h"

#include <utility>

#include "policies/placement/cache_and_load.h"

namespace dualmesh::policies {

namespace {

bool reaches(const PeerView& peer, Slot slot) {
  return std::binary_search(peer.reaches.begin(), peer.reaches.end(), slot);
}

bool full(const PlacementContext& context, Slot slot) {
  return engine_queue(load_of(context.fleet, slot)) > 0;
}

}  // namespace

// Our probes of it fail while those of another node do not, to which the request may still go.
bool SelectivePush::cut_off(const PlacementRequest& request, const PlacementContext& context,
                            Slot slot) const {
  if (context.fleet.at(slot).healthy || request.arrival.handed || hops_ == 0) return false;
  const Peers& peers = *context.fleet.view().peers;
  return std::any_of(peers.begin(), peers.end(),
                     [slot](const PeerView& peer) { return reaches(peer, slot); });
}

// To a node that reaches the best of the instances that only others reach and that have room.
Choice SelectivePush::hand_over(const PlacementRequest& request, const PlacementContext& context,
                                Random& random) const {
  const std::uint32_t input = request.arrival.input_tokens;
  const auto may_take = [&](Slot slot) {
    return cut_off(request, context, slot) && !full(context, slot) &&
           context.fleet.at(slot).handed < hops_;
  };
  const auto cost = [&](Slot slot) {
    const std::uint32_t hit = hit_at(request, context, slot);
    return std::pair(hit > threshold_ * input ? input - hit : input,
                     load_of(context.fleet, slot).requests());
  };
  const Slot best = least_where(context.model.view->active, random, may_take, cost);
  Choice choice;
  if (best == kNoSlot) return choice;
  const Peers& peers = *context.fleet.view().peers;
  std::uint32_t of_them = 0;
  for (std::uint32_t i = 0; i < peers.size(); ++i) {
    if (reaches(peers[i], best) && draw(random, ++of_them) == 0) choice.hand_to = i;
  }
  choice.reason = Reason::handed;
  choice.candidates[0] = estimate(request, context.fleet, best);
  return choice;
}

Choice SelectivePush::choose(const PlacementRequest& request, const PlacementContext& context,
                             Random& random) const {
  const auto closed = [&](Slot slot) {
    return full(context, slot) || cut_off(request, context, slot);
  };
  bool usable = false;
  bool away = false;  // some that only other nodes reach
  bool available = false;
  std::uint32_t longest = 0;
  for (const Slot slot : context.model.view->active) {
    if (cut_off(request, context, slot)) {
      away = true;
    } else if (context.usable(slot)) {
      usable = true;
      if (full(context, slot)) continue;
      available = true;
      longest = std::max(longest, hit_at(request, context, slot));
    }
  }
  if (!available && away) {
    const Choice handed = hand_over(request, context, random);
    if (handed.hand_to != kNoPeer) return handed;
  }
  if (!usable && !away) return {};
  if (!available) {
    Choice choice;
    choice.reason = Reason::waits;
    choice.wait = true;
    return choice;
  }
  if (longest > threshold_ * request.arrival.input_tokens) {
    const auto shortness = [&](Slot slot) {
      const std::uint32_t hit = hit_at(request, context, slot);
      return std::pair(closed(slot), longest - std::min(hit, longest));
    };
    return choose_least(request, context, random, shortness, Reason::longest_hit);
  }
  const auto requests = [&](Slot slot) {
    return std::pair(closed(slot), load_of(context.fleet, slot).requests());
  };
  return choose_least(request, context, random, requests, Reason::least_load);
}

}  // namespace dualmesh::policies
