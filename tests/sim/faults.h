// Faults: the troubles of a scenario, when each begins and ends, and how it is done and undone.
//
// The state of the network is at any time a function of the faults under way, so that two which
// overlap do not undo each other. Crashed nodes come back at the end of their fault, unless the
// scenario leaves some down.
//
// Threads: none; the cluster's.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/coverage.h"
#include "tests/sim/scenario.h"

namespace dualmesh::sim {

struct Fault {
  FaultKind kind = FaultKind::loss;
  double begins_ms = 0.0;  // of the cluster's clock
  double ends_ms = 0.0;
  std::size_t a = 0;               // the node, or one end of the link
  std::size_t b = 0;               // the other end
  std::vector<std::size_t> group;  // one side of a partition
  double size = 0.0;               // loss, delay in ms, bytes per ms, clock step in ms, rows
};

class Faults {
 public:
  struct Hooks {
    std::function<void(std::size_t node)> before_crash;
    std::function<void(std::size_t node, std::size_t rows)> burst;
  };

  Faults(const Scenario& scenario, SimCluster& cluster, Dice& dice, Hooks hooks);
  // Those that are given, in the order of their beginning, instead of drawn ones.
  Faults(const Scenario& scenario, SimCluster& cluster, Dice& dice, Hooks hooks,
         std::vector<Fault> planned)
      : scenario_(scenario),
        cluster_(cluster),
        dice_(dice),
        hooks_(std::move(hooks)),
        planned_(std::move(planned)) {}

  double next_ms() const;  // when the next fault begins or ends
  void tick();             // begins and ends what is due
  void end_all();          // heals everything; nodes that were down start, but for those that stay
  const Coverage& seen() const { return seen_; }
  // The link that stays cut after `end_all`, by its nodes.
  const std::optional<std::pair<std::size_t, std::size_t>>& standing_cut() const { return cut_; }
  // One line per fault, for people.
  std::string story() const;

 private:
  Fault draw(double at_ms);
  void begin(Fault fault);
  void end(const Fault& fault);
  void bring_down(const Fault& fault);
  void bring_up(const Fault& fault);
  void apply_links();
  void apply(const Fault& fault);
  void leave_one_cut();
  std::vector<std::size_t> running() const;
  std::size_t running_seeds() const;

  const Scenario& scenario_;
  SimCluster& cluster_;
  Dice& dice_;
  Hooks hooks_;
  std::vector<Fault> planned_;  // by their beginning
  std::size_t begun_ = 0;
  std::uint32_t generation_ = 1;  // of ring parameters, the last one given to a node
  std::vector<Fault> under_way_;
  std::optional<std::pair<std::size_t, std::size_t>> cut_;
  Coverage seen_;
  std::string told_;
};

}  // namespace dualmesh::sim
