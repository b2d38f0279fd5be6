// PrecisePrefix: cached prefix, waiting requests and KV memory, each scored 0 to 1, weighted.
//
// Formula: score(i) = prefix x hit blocks / blocks of the prompt
//                   + queue x (max Q - Q(i)) / (max Q - min Q), 1 when all are equal
//                   + kv x (1 - memory taken), greatest first, ties at random.
// Q is what waits without a first token, less the one the engine works on. Memory taken is the
// prompts that decode and the prefill under way, against what an instance holds.
//
// Shared by the mesh: load and predicted residency. A placement counts as cached the moment it is
// made, which is the source's speculative entry.
// Source: llm-d's inference scheduler: precise prefix cache, queue and KV utilization scorers,
// weights 3, 2, 2 as in its chart and its published benchmark, picker of the greatest score.
// Deviations: residency is predicted from placements unless engines report theirs, with one tier of
// memory; queues are the mesh's gauges, not the engines' metrics; what an answer adds to memory is
// not known here; blocks are this router's (theirs: 16 tokens).
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class PrecisePrefix final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"prefix", 3, 0, 1000, "weight of the cached share of the prompt"},
      Parameter{"queue", 2, 0, 1000, "weight of a short queue"},
      Parameter{"kv", 2, 0, 1000, "weight of free KV memory"},
  };
  explicit PrecisePrefix(const ParameterValues& values)
      : prefix_(values[0]), queue_(values[1]), kv_(values[2]) {}

  std::string_view name() const override { return "precise_prefix"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double prefix_;
  double queue_;
  double kv_;
};

}  // namespace dualmesh::policies
