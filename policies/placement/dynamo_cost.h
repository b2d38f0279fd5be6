// DynamoCost: prefill blocks left to compute and blocks in use, added up.
//
//   raw(i)    = (pending(i) + input) / block
//   credit(i) = overlap_credit x hit(i) / block
//               / (1 + credit_decay x (pending(i) - min pending) / input)
//   cost(i)   = prefill_scale x max(raw(i) - credit(i), 0) + used(i) + request_weight x requests(i)
//   lmetric=1:  max(raw(i) - credit(i), 0) x (used(i) + 1)
//
// pending is uncached prefill queued or dispatched; used the blocks of the prompts that decode, of
// the prefill under way and of this request; own and the other nodes'. The least cost is taken,
// ties at random; with a temperature T, one drawn with weights exp(-(cost - min) / (max - min) /
// T).
//
// Shared by the mesh: load, predicted residency; the policy itself has no state.
// Source: NVIDIA Dynamo's KV router, its documented cost and defaults.
// Deviations: one tier of memory, so no credits for host, disk or shared ones; what is cached of a
// prompt in prefill counts as used only once it decodes; pending prefill counts in full until the
// first token, as in the source's default without a model of its decay; no queue at the router.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class DynamoCost final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"overlap_credit", 1, 0, 1000, "blocks of prefill that a cached block is worth"},
      Parameter{"credit_decay", 0, 0, 1000, "loss of credit per prompt of prefill above the least"},
      Parameter{"prefill_scale", 1, 0, 1000, "weight of the prefill blocks"},
      Parameter{"request_weight", 0, 0, 1e6, "blocks that a request under way costs besides"},
      Parameter{"temperature", 0, 0, 1000, "0: the least cost; more: more at random"},
      Parameter{"lmetric", 0, 0, 1, "1: the product of both terms in place of their sum"},
  };
  explicit DynamoCost(const ParameterValues& values) : values_(values) {}

  std::string_view name() const override { return "dynamo_cost"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  ParameterValues values_;
};

}  // namespace dualmesh::policies
