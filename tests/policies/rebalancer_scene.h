// A ledger of waiting requests and the rebalancer that moves them, over a fleet made by hand.
//
// One token is one millisecond; SLO 10 s, so that an instance is overloaded beyond 5,000 tokens.
// Threads: one.
#pragma once

#include <utility>
#include <vector>

#include "policies/order/longest_hit.h"
#include "policies/rebalancer.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {

struct RebalancerScene {
  explicit RebalancerScene(std::size_t instances) : builder(instances), fleet(settings()) {
    builder.view.settings.slo_ttft_s = 10;
    show();
  }
  static SchedulerSettings settings() {
    SchedulerSettings s;
    s.prefill_s_per_token = 0.001;
    s.block_tokens = 100;
    return s;
  }
  void show() { fleet.set_view(builder.build()); }

  // Queued at its first candidate; `hits` in blocks at each.
  LiveRequest& queue(std::uint32_t tokens, Slot at = 0, Slot other = 1, Time arrived = {},
                     std::vector<std::uint32_t> hits = {}) {
    ++last_id;
    Arrival arrival = arrival_of(last_id, {last_id});
    arrival.input_tokens = tokens;
    arrival.hit_tokens = std::move(hits);
    to_tokens(arrival.hit_tokens, fleet.settings().block_tokens);
    LiveRequest& request = ledger.open(std::move(arrival), arrived);
    request.candidates = {at, other};
    const std::uint32_t hit = hit_tokens(request.arrival, at);
    ledger.enqueue(request, at, tokens - hit, order.rank(request.arrival, hit));
    return request;
  }
  Rebalancer::Moves relieve(Slot source, Time now, std::uint32_t budget,
                            const RebalanceRule& rule = {}) {
    Rebalancer::Moves moves;
    rebalancer.relieve(source, order, rule, now, budget, moves);
    return moves;
  }

  FleetBuilder builder;
  Fleet fleet;
  Ledger ledger{fleet};
  Rebalancer rebalancer{fleet, ledger};
  LongestHit order;
  RequestId last_id = 0;
};

}  // namespace dualmesh::policies
