// LeastLatency: the instance that has lately given first tokens soonest, at once.
//
// Formula: argmin over i of ewma(i) x 2^(-n(i) / half_life), ties at random. ewma is the average of
// the times from submission to first token, the newest weighing `weight`; n(i) counts this node's
// placements anywhere since the last of them, so that an instance left aside comes to be tried
// again. An instance never tried goes first. From its trial to its first answer it counts as if it
// took the whole SLO: nothing is known of it, and until then nothing more should be risked.
//
// Counted in placements, not seconds: a node without traffic learns nothing and forgets nothing.
//
// Shared by the mesh: nothing; every node averages what it has seen itself.
// Source: EWMA balancing as in Finagle's peak EWMA, with time to first token in place of the whole
// latency, which an LLM's answers of any length say little by.
#pragma once

#include <vector>

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class LeastLatency final : public Policy {
 public:
  static constexpr Parameter kParameters[] = {
      {"weight", 0.3, 0.01, 1, "weight of the newest time to first token in the average"},
      {"half_life", 50, 1, 1'000'000, "placements after which an average counts for half"},
  };
  explicit LeastLatency(const ParameterValues& values)
      : weight_(values[0]), half_life_(values[1]) {}

  std::string_view name() const override { return "least_latency"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
  void taken(const PlacementRequest& request, const PlacementContext& context,
             const Choice& choice) override;
  void first_token(const Arrival& arrival, Slot slot, Duration since_submit) override;

 private:
  struct Average {
    double ttft_s = 0;
    std::uint64_t at = 0;  // placements_ when it was made
    bool tried = false;
    bool answered = false;
  };
  bool untried(Slot slot) const { return slot >= averages_.size() || !averages_[slot].tried; }
  double faded_s(const Average& average) const;

  double weight_;
  double half_life_;
  std::vector<Average> averages_;  // by slot
  std::uint64_t placements_ = 0;
};

}  // namespace dualmesh::policies
