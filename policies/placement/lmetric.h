// LMetric: the product of what must be prefilled before the first token and of the batch.
//
// Formula: score(i) = (pending(i) + input - hit(i)) x (requests(i) + 1), least first, ties at
// random; pending is uncached prefill queued or dispatched, requests all that have not ended, own
// and the other nodes'. No weights. An idle instance without anything to compute scores 0.
//
// Guard against hot spots: a class is what shares the ring key, M the usable instances that hold
// its prefix, the window the last `window` seconds. While arrivals of the class / the others >
// |M| / |not M|, and for 2 |M| requests of the class in a row no instance outside M has scored less
// than the best of M, the class goes to the best one outside M.
//
// Shared by the mesh: load, residency. The windows, one per model, are this node's, over the
// traffic it sees, of at most kMaxArrivals; the oldest leave early and are counted. Source:
// LMetric, OSDI 2026, arXiv 2603.15202; its authors' router and a re-implementation. Deviations:
// they do not define the class; a ring key is as deep as its prefix is hot. Prefill already done of
// a request in prefill is not known here and counts as to do.
#pragma once

#include <boost/container/flat_map.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <string>

#include "policies/policy.h"
#include "policies/policy_spec.h"

namespace dualmesh::policies {

class LMetric final : public Policy {
 public:
  static constexpr std::array kParameters{
      Parameter{"guard", 1, 0, 1, "1: the guard against hot spots is on"},
      Parameter{"window_s", 60, 1, 3600, "s of arrivals that the guard compares"},
  };
  static constexpr std::size_t kMaxArrivals = 65'536;

  explicit LMetric(const ParameterValues& values)
      : guard_(values[0] > 0), window_(from_seconds(values[1])) {}

  std::string_view name() const override { return "lmetric"; }
  Choice choose(const PlacementRequest& request, const PlacementContext& context,
                Random& random) const override;
  void taken(const PlacementRequest& request, const PlacementContext& context,
             const Choice& choice) override;

  std::uint64_t forgotten() const { return forgotten_; }

 private:
  struct Class {
    std::uint32_t arrivals = 0;  // in the window
    std::uint32_t in_a_row = 0;  // while alarmed and the holders scored best
  };
  struct Seen {
    Time at;
    BlockKey key;
  };
  struct Window {
    std::deque<Seen> seen;
    boost::unordered_flat_map<BlockKey, Class> classes;

    void drop_oldest();
  };
  struct Judgement {
    bool suspicious = false;  // alarmed, and the best holder scores no worse than the others
    bool confirmed = false;   // for long enough
  };
  struct Traffic {
    double of_class;
    double of_others;
    double in_a_row;
  };
  Traffic traffic(const PlacementRequest& request, Time now) const;
  Judgement judge(const PlacementRequest& request, const PlacementContext& context) const;

  bool guard_;
  Duration window_;
  boost::container::flat_map<std::string, Window> windows_;  // by model
  std::uint64_t forgotten_ = 0;
};

}  // namespace dualmesh::policies
