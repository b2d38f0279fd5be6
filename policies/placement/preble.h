// Preble (E2): exploit the cache when most of the prompt is cached somewhere, explore otherwise.
//
//   longest hit > input - longest hit:  exploit: of those with the longest hit, the least cost
//   else:                               explore: the least cost of all
//   cost(i) = L(i) + (input - hit(i)) x t_c(i)
//   L(i)    = n x sum over the requests sent to i in the last `window` seconds of
//             (uncached tokens x t_c(i) + mean output x tpot(i))
//
// Ties are drawn. An exploiting request whose instance has the greatest L, and more than `balance`
// x the least L, goes to the least loaded instead, which thereby becomes one more holder of its
// prefix.
//
// Shared by the mesh: predicted residency, in place of a global tree with allocations. The window,
// mean output and tpot (time per output token, learned per instance) are this node's; each of the n
// live nodes sees a random share of the traffic, so its own sum stands for an n-th of the whole.
// Bound: kMaxRequests in the window; the oldest leave early and are counted.
// Source: Preble, arXiv 2407.00023: E2 and its balancing after assignment; window of 3 min, output
// of 45 tokens and 0.15 s a token until known as in the authors' code; 2.0 for the balance as in a
// re-implementation.
// Deviations: load is charged per request as in the paper's formula, not per tree node; no cost of
// eviction (off in the authors' release); an estimate linear in tokens in place of fitted curves;
// no moving of tree nodes between instances, as the residency all nodes share is nobody's to
// assign; no preference of explorers for instances that mostly decode; the local scheduler is the
// engine's.
#pragma once

#include <deque>
#include <vector>

#include "policies/policy.h"
#include "policies/policy_spec.h"
#include "policies/prefill_estimator.h"

namespace dualmesh::policies {

class Preble final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"window_s", 180, 1, 36'000, "s of requests that make the load"},
      Parameter{"balance", 2, 1, 1e6, "most against least loaded beyond which exploiting yields"},
  };
  static constexpr std::size_t kMaxRequests = 65'536;
  static constexpr double kInitialOutput = 45;
  static constexpr double kInitialTpotS = 0.15;

  explicit Preble(const ParameterValues& values)
      : window_(from_seconds(values[0])), balance_(values[1]) {}

  std::string_view name() const override { return "preble"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
  void taken(const PlacementRequest& request, const PlacementContext& context,
             const Choice& choice) override;
  void ended(const Arrival& arrival, Slot slot, const Service& service) override;

  // L(slot) at `context.now`.
  double load_s(const PlacementContext& context, Slot slot) const;
  std::uint64_t forgotten() const { return forgotten_; }

 private:
  struct Sent {
    Time at;
    Slot slot;
    std::uint32_t uncached;
  };
  struct Sums {
    std::uint64_t requests = 0;
    std::uint64_t uncached = 0;
    PrefillEstimator tpot{kInitialTpotS};
  };
  double mean_output() const;
  void drop_oldest();

  Duration window_;
  double balance_;
  std::deque<Sent> sent_;                     // in the order of time
  std::vector<Sums> sums_;                    // by slot, over sent_
  std::array<std::uint32_t, 256> outputs_{};  // of the last that finished
  std::uint64_t outputs_seen_ = 0;
  std::uint64_t outputs_sum_ = 0;  // over outputs_
  std::uint64_t forgotten_ = 0;
};

}  // namespace dualmesh::policies
