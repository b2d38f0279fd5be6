// LeastLatency: the instance that by its latest answers gives a first token soonest, at once.
//
// Formula: argmin over i, ties at random, of
//   ewma(i) x 2^(-n(i) / half_life)        while nobody waits there
//   ewma(i) x (1 + pending x waiting(i))   else
// ewma is the average of the times from submission to first token, the newest weighing `weight`;
// n(i) counts this node's placements anywhere since the last of them, so that an instance left
// aside comes to be tried again, by one request: while that waits, the old average counts in full,
// and one that never answers gathers nobody. waiting(i) = queued(i) + prefilling(i), own and the
// other nodes': an average knows nothing of what has been sent since, and alone (pending = 0) it
// sends all to one instance until the answers are bad, then all to the next.
//
// An instance never tried goes first. From its trial to its first answer it counts as if it took
// the whole SLO: nothing is known of it, and until then nothing more should be risked. Age is
// counted in placements, not seconds: a node without traffic learns nothing and forgets nothing.
//
// Shared by the mesh: the load; every node averages what it has seen itself.
// Source: peak EWMA balancing as in Finagle and Linkerd, where what is unknown or has faded gets
// one request at a time, too; over all instances, with time to first token in place of the whole
// latency, which the length of an answer decides; pending = 0 is the plain least latency of
// gateways.
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
      {"pending", 1, 0, 100, "share of the average that each waiting request adds"},
  };
  explicit LeastLatency(const ParameterValues& values)
      : weight_(values[0]), half_life_(values[1]), pending_(values[2]) {}

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
  double pending_;
  std::vector<Average> averages_;  // by slot
  std::uint64_t placements_ = 0;
};

}  // namespace dualmesh::policies
