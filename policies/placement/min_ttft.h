// MinTtft: the instance with the earliest first token, over all of them.
//
// Formula: TTFT(i) = fetch(i) + (pending(i) + input - hit(i)) x t_c(i), least first, ties at
// random; pending is the uncached prefill of this node and of the others, queued or dispatched.
// fetch is zero unless engines fetch KV from one another or from a store: then, where the longest
// hit of all exceeds `balancing` x hit(i), the hit counts as the longest one and fetch(i) is what
// is missing of it x `transfer_us`. A hit of zero is exceeded by any other.
//
// Shared by the mesh: load, predicted residency; the policy itself has no state.
// Source: Mooncake, FAST 2025, algorithm 1. It has no number for its threshold; with the default
// transfer_us of 0, nothing is fetched and the plain form remains.
// Deviations: prefill is linear in the missing tokens with a learned cost; a request that cannot
// meet its target is served, not refused; the choice of a decoding instance is the engine's; the
// load gauges count what is fetched as prefill still to do.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class MinTtft final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"balancing", 1, 1, 1e6,
                "fetch when the longest hit is more than so many times ours"},
      Parameter{"transfer_us", 0, 0, 1e6, "us to fetch the KV of one token; 0: nothing is fetched"},
  };
  explicit MinTtft(const ParameterValues& values)
      : balancing_(values[0]), transfer_s_(values[1] * 1e-6) {}

  std::string_view name() const override { return "min_ttft"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  double balancing_;
  double transfer_s_;
};

}  // namespace dualmesh::policies
