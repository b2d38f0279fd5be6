// DualMesh: two candidates from two rings and their neighbours; what is computed has a price.
//
// Candidates are the owners of the request's key on the two rings and, for each, the next instance
// of the model by name, to which requests are also moved. All are functions of the key, so all
// nodes send to the same four. But the key goes deeper when a prefix becomes hot, and the next turn
// of a conversation has others then: so the instance that holds most of the prompt is a candidate
// as well (of those that hold as much, the one with the least pending). And so is the instance with
// the least pending of all: as long as depths are unknown, after a start, all prompts that begin
// alike have one key, and the other instances would stand idle. Chosen is the least
//   cost(i) = miss(i) x (pending(i) + price x mean pending + decode_tokens x (decoding(i) + 1))
//             x seconds per token(i)
// where pending are the uncached tokens that wait there or are being prefilled, their mean that
// over the instances of the model, decoding the sequences past their prefill, miss the uncached
// tokens of the request. What is computed at i delays all that waits there, hence the product; and
// it takes capacity and cache from the fleet, hence the price, which rises with what waits
// anywhere: where nobody waits a miss harms nobody, and a high price would send everything to the
// instance that has computed what all prompts begin with. Each sequence that decodes takes its part
// of every iteration and will go on to, as will this request, so it counts as work that waits.
//
// Hits that are predicted stand beside hits that engines' events prove. A wrong prediction costs a
// whole prefill, so a predicted token may be taken for less (`predicted`), and of the two cheapest,
// where they are as good as equal (`near`), a hit that is surer wins. Where all hits are of one
// kind, and `predicted` is 1, none of this changes anything.
//
// Requests wait at the router in the order `slo`, and are moved only away from an instance with
// more work than two SLOs: a move costs the hits of all requests that follow.
//
// Shared by the mesh: loads, waiting requests, predicted residency, depth marks; no state.
// Cost: O(instances), for holder, least pending and mean; allocates nothing.
// Source: candidates after DualMap (arXiv 2602.06502); the product after LMetric; the rest is ours.
#pragma once

#include <array>

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class DualMesh final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"price", 2, 0, 1e6, "of a computed token, in what waits at an instance on average"},
      Parameter{"decode_tokens", 200, 0, 1e6, "a decoding sequence counts as so many that wait"},
      Parameter{"predicted", 1, 0, 1, "worth of a cached token that is only predicted"},
      Parameter{"near", 0.02, 0, 1, "costs that differ by this share are as good as equal"},
  };
  explicit DualMesh(const ParameterValues& values)
      : price_(values[0]), decode_tokens_(values[1]), predicted_(values[2]), near_(values[3]) {}

  std::string_view name() const override { return "dualmesh"; }
  std::string_view default_order() const override { return "slo"; }
  bool rebalances() const override { return true; }
  RebalanceRule rebalance_rule() const override { return {.source_slos = 2.0, .by_wait = false}; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double cost(const PlacementRequest& request, const Fleet& fleet, double price_tokens,
              const CandidateEstimate& candidate) const;

  double price_;
  double decode_tokens_;
  double predicted_;
  double near_;
};

}  // namespace dualmesh::policies
