// Preble (E2): exploit the cache when most of the prompt is cached somewhere, explore otherwise.
//
//   longest hit > input - longest hit:  exploit: among the instances with the longest hit, or those
//                                       that balancing has moved the prompt's prefix to, the least
//                                       cost
//   else:                               explore: the least cost of all
//   cost(i) = P(i) + D(i) + (input - hit(i)) x t_c(i)
//   P(i)    = n x t_c(i) x uncached tokens of the last `window` seconds that count for i
//   D(i)    = requests under way at i x mean output x tpot(i)
//
// Ties are drawn. An exploiting request whose instance has the greatest load P + D, and more than
// `balance` x the least, goes to the least loaded instead, which thereby becomes one more holder of
// its prefix.
//
// With `decode` > 0 exploring prefers instances with D(i) > decode x P(i), that mostly decode.
// With `rebalance` > 0, at most once in kBalanceEvery and from kBalanceFrom requests per instance
// on: while the most loaded instance, by the prefixes with two requests or more, has at least
// `rebalance` x the load of the least loaded, its cheapest prefixes are moved to that one
// instead, as long as this does not turn the two around; a prefix that is the only one there gets
// it as a second home, if its first tokens have come to take twice the time within the window. Then
// the next most loaded, three at most. Both are off unless asked for: the authors' later code has
// the second without calling it, and nothing of the first; what they cost is in policies/README.md.
//
// Shared by the mesh: load and predicted residency, in place of a global tree. Windows, assignments
// (preble_window.h), mean output and tpot (time per output token, learned per instance) are this
// node's; each of the n live nodes sees a random share of the traffic, so what it sent stands for
// an n-th of the whole.
// Source: Preble, arXiv 2407.00023: E2 and its balancing; window of 3 min, output of 45 tokens and
// 0.15 s a token until known, decoding charged while it lasts, and 1.5 for `rebalance` as in the
// authors' code; 2.0 for `balance` and 1.5 for `decode` as in a re-implementation.
// Deviations: no cost of eviction (off in the authors' release); an estimate linear in tokens in
// place of fitted curves; the local scheduler is the engine's.
#pragma once

#include "policies/placement/preble_window.h"
#include "policies/policy.h"
#include "policies/policy_spec.h"
#include "policies/prefill_estimator.h"

namespace dualmesh::policies {

class Preble final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"window_s", 180, 1, 36'000, "s of requests that make the load"},
      Parameter{"balance", 2, 1, 1e6, "most against least loaded beyond which exploiting yields"},
      Parameter{"rebalance", 0, 0, 1e6, "most against least loaded to move prefixes from; 0: off"},
      Parameter{"decode", 0, 0, 1e6, "decoding against prefill to prefer in exploring; 0: off"},
  };
  static constexpr double kInitialOutput = 45;
  static constexpr double kInitialTpotS = 0.15;
  static constexpr std::uint64_t kBalanceFrom = 50;  // requests per instance
  static constexpr Duration kBalanceEvery = std::chrono::seconds(1);

  explicit Preble(const ParameterValues& values)
      : window_(from_seconds(values[0])),
        balance_(values[1]),
        rebalance_(values[2]),
        decode_(values[3]) {}

  std::string_view name() const override { return "preble"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
  void taken(const PlacementRequest& request, const PlacementContext& context,
             const Choice& choice) override;
  void first_token(const Arrival& arrival, Slot slot, Duration since_submit) override;
  void ended(const Arrival& arrival, Slot slot, const Service& service) override;

  double prefill_s(const PlacementContext& context, Slot slot) const;   // P
  double decoding_s(const PlacementContext& context, Slot slot) const;  // D
  std::uint64_t forgotten() const { return window_.forgotten(); }

 private:
  struct Loaded {
    Slot slot = kNoSlot;
    double load_s = 0;
  };
  struct Movable {
    double cost_s = 0;
    BlockKey prefix = 0;
    PrebleWindow::Slots assigned;
  };
  double mean_output() const;
  double tpot_s(Slot slot) const;
  void rebalance(const PlacementContext& context, std::uint64_t model);
  double cost_s(const PrebleWindow::Prefix& prefix, const PlacementContext& context,
                Slot slot) const;
  void relieve(Loaded& most, Loaded& least, const PlacementContext& context, std::uint64_t model);

  PrebleWindow window_;
  double balance_;
  double rebalance_;
  double decode_;
  Time balanced_{};
  std::vector<PrefillEstimator> tpots_;       // by slot
  std::array<std::uint32_t, 256> outputs_{};  // of the last that finished
  std::uint64_t outputs_seen_ = 0;
  std::uint64_t outputs_sum_ = 0;  // over outputs_
};

}  // namespace dualmesh::policies
