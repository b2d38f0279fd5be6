// SelectivePush: a request goes to an instance only while nobody waits there; until then it waits
// at the router.
//
//   available(i): no request waits in the engine, apart from the one in prefill
//   longest hit > threshold x input:   a holder of it, among the available, at random
//   else:                              the fewest requests under way, among the available, at
//   random
//   none available:                    to another node, if one reaches an instance that this one
//                                      does not and that is available, chosen as above; at most
//                                      `hops` at a time for each such instance
//   nor there:                         wait at the router, first come first served
//
// Placing is thus put off to the moment there is room, and no instance builds a queue that nobody
// else can see. Who waits is asked for again whenever load or fleet change (waiting_room.h). A
// request makes one hop at most: one that comes from another node is placed or waits here, and so
// does one that has come back.
//
// Shared by the mesh: load, predicted residency, and which instances answer whose probes. Who
// waits, waits at this node alone.
// Source: SkyWalker, EuroSys 2026, arXiv 2505.24095: selective pushing by pending requests (SP-P),
// and its authors' load balancer, threshold 0.5.
// Deviations: pending requests are the mesh's gauges, own ones at once, in place of a probe of the
// engine's metrics, so at most one request a node is sent beyond the one in prefill, and two hops
// at a time are that many; hits are those of its arrival; with more than one model each has a line
// of its own; one that has failed somewhere does not hold up those behind it. The source's
// balancers each own the instances of a region, and one whose instances are all full pushes to
// another. Here every node places on all instances it reaches and knows the load of all, so that
// another has room which this one has not only where this one's probes fail.
#pragma once

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class SelectivePush final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"threshold", 0.5, 0, 1, "least share of the prompt that must match, exclusive"},
      Parameter{"hops", 2, 0, 64, "to other nodes at a time for each instance only they reach"},
  };
  explicit SelectivePush(const ParameterValues& values)
      : threshold_(values[0]), hops_(static_cast<std::uint32_t>(values[1])) {}

  std::string_view name() const override { return "selective_push"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;

 private:
  bool cut_off(const PlacementRequest& request, const PlacementContext& context, Slot slot) const;
  Choice hand_over(const PlacementRequest& request, const PlacementContext& context,
                   Random& random) const;

  double threshold_;
  std::uint32_t hops_;
};

}  // namespace dualmesh::policies
