// DualMesh: two candidates from two rings and their neighbours; what is computed has a price.
//
// Candidates are the owners of the request's key on the two rings and, for each, the next instance
// of the model by name, to which requests are also moved. All are functions of the key, so the next
// turn of a conversation finds the same four, wherever of them its prefix lies. Chosen is the least
//   cost(i) = miss(i) x (pending(i) + price + decode x decoding(i)) x seconds per token(i)
// where pending are the uncached tokens that wait there or are being prefilled, decoding the
// context tokens of the sequences past their prefill, miss the uncached tokens of the request. What
// is computed at i delays all that waits there, hence the product; and it takes capacity and cache
// from the fleet although nobody waits, hence the price, which decoding raises as the fleet fills.
// Requests wait at the router in the order `slo`, and are moved only away from an instance with
// more work than two SLOs: a move costs the hits of all requests that follow.
//
// Shared by the mesh: loads, waiting requests, predicted residency, depth marks.
// Source: candidates after DualMap (arXiv 2602.06502); the product after LMetric; the rest is ours.
#pragma once

#include <array>

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class DualMesh final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"price_tokens", 20'000, 0, 1e6, "of a computed token, in tokens that wait"},
      Parameter{"decode", 0.04, 0, 10, "the same, for each context token being decoded"},
  };
  explicit DualMesh(const ParameterValues& values) : price_(values[0]), decode_(values[1]) {}

  std::string_view name() const override { return "dualmesh"; }
  std::string_view default_order() const override { return "slo"; }
  bool rebalances() const override { return true; }
  RebalanceRule rebalance_rule() const override { return {.source_slos = 2.0, .by_wait = false}; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double cost(const PlacementRequest& request, const Fleet& fleet,
              const CandidateEstimate& candidate) const;

  double price_;
  double decode_;
};

}  // namespace dualmesh::policies
