// D2lpm: the shortest queue of those that hold the longest prefix, where the client has credit
// (double deficit longest prefix match).
//
//   while the client has q[u][i] > 0 at no usable instance: q[u][i] += quantum at all of them
//   longest = the usable instances with the longest hit, whether or not they have credit
//   pool    = those of `longest` with q[u][i] > 0, or, if none, all with q[u][i] > 0
//   to the one in the pool with the fewest requests; ties are drawn
//   q[u][i] -= extend x uncached tokens when placed, output x tokens of the answer at the end
//
// The quantum says how much of one client's work may gather where its prefixes are before it has to
// spread: large is longest prefix match, small is round robin in tokens for each client. Who goes
// first at an instance is the order's: `dlpm` with credits per instance, unless another is asked
// for; there service follows the clients' weights.
//
// Shared by the mesh: load, residency. Credits are this node's, with a whole quantum at each: R
// nodes together let R times as much gather; a share of it, below the cost of one request, would
// be round robin and lose the locality. Bound: kMaxClients; when a new one would exceed it all
// credits begin anew, which is counted; it costs locality, not fairness.
// Source: Locality-aware Fair Scheduling (arXiv 2501.14312): D2LPM; 1 and 2 as there, the quantum
// is ours, as the paper's is not stated.
// Deviations: what is charged at once is what the estimate says is not cached, and it is not
// corrected; an instance that cannot be used gets no refills, or it would draw everything when it
// is back.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <vector>

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class D2lpm final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"quantum", 32768, 1, 1e12, "credit of one refill at each instance"},
      Parameter{"extend", 1, 0.001, 1000, "cost of a prompt token that is not cached"},
      Parameter{"output", 2, 0, 1000, "cost of an answer's token"},
  };
  static constexpr std::size_t kMaxClients = 65'536;

  explicit D2lpm(const ParameterValues& values)
      : quantum_(values[0]), extend_(values[1]), output_(values[2]) {}

  std::string_view name() const override { return "d2lpm"; }
  std::string_view default_order() const override { return "dlpm:per_instance=1"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
  void taken(const PlacementRequest& request, const PlacementContext& context,
             const Choice& choice) override;
  void ended(const Arrival& arrival, Slot slot, const Service& service) override;

  double credit(std::uint64_t client, Slot slot) const;
  std::uint64_t begun_anew() const { return begun_anew_; }

 private:
  using Credits = std::vector<double>;  // by slot
  const Credits* credits_of(std::uint64_t client) const;
  // Refills until some usable instance has credit.
  double rounds(const Credits* credits, const PlacementContext& context) const;

  double quantum_;
  double extend_;
  double output_;
  boost::unordered_flat_map<std::uint64_t, Credits> clients_;
  std::uint64_t begun_anew_ = 0;
};

}  // namespace dualmesh::policies
