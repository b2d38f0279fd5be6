// Scenario: what one seed stands for: how many nodes and instances, which network, which settings,
// how much is changed, how long. All of it is drawn from the seed.
//
// Mostly 2 to 8 nodes, because what goes wrong between nodes goes wrong between few; some of up to
// 32, with a ping interval that keeps the cost of a virtual second in bounds.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <random>

#include "tests/sim/sim_cluster.h"

namespace dualmesh::sim {

// Draws of a seed, in the order in which they are asked for.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  std::uint64_t below(std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random_);
  }
  double between(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }
  bool chance(double share) { return between(0.0, 1.0) < share; }
  double gap_ms(double per_second) {  // until the next of so many per second
    return std::exponential_distribution<double>(per_second / 1e3)(random_);
  }
  template <class Range>
  auto& one_of(Range& range) {
    return range[below(std::size(range))];
  }
  std::mt19937_64& generator() { return random_; }

 private:
  std::mt19937_64 random_;
};

struct Scenario {
  std::uint64_t seed = 0;
  std::size_t nodes = 0;
  std::size_t instances = 0;
  double trouble_ms = 60'000;  // of faults and changes; healing and silence come after it
  std::size_t faults = 0;
  double changes_per_s = 0.0;
  double loss = 0.0;  // all the time, of every link
  SimDelay delay;
  node::MeshConfig config;  // but for names and addresses
  bool some_stay_down = false;
  bool cut_stays = false;  // one link is not healed: others must pass on what it would carry
};

Scenario draw_scenario(std::uint64_t seed);
// The nodes of the scenario, none of them started.
void build(const Scenario& scenario, SimCluster& cluster);

}  // namespace dualmesh::sim
