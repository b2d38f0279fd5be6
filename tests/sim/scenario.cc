#include "tests/sim/scenario.h"

#include <algorithm>

namespace dualmesh::sim {
namespace {

std::size_t draw_nodes(Dice& dice) {
  const double kind = dice.between(0.0, 1.0);
  if (kind < 0.955) return 2 + dice.below(7);
  if (kind < 0.995) return 9 + dice.below(8);
  return 17 + dice.below(16);
}

std::size_t draw_instances(Dice& dice) {
  const double kind = dice.between(0.0, 1.0);
  if (kind < 0.05) return 0;
  if (kind < 0.85) return 1 + dice.below(12);
  return 13 + dice.below(52);
}

node::MeshConfig draw_config(const Scenario& scenario, Dice& dice) {
  node::MeshConfig config;
  for (std::size_t i = 0; i < scenario.instances; ++i) {
    config.instances.push_back(
        {"e" + std::to_string(i),
         "10.0." + std::to_string(i / 200) + "." + std::to_string(i % 200 + 1) + ":9000",
         {i % 3 == 2 ? "m2" : "m"},
         i % 4 == 3 ? 2.0 : 1.0});
  }
  config.ring.points_per_weight = 8;
  constexpr std::uint32_t kPushBytes[] = {2'048, 8'192, 65'536, 262'144};
  constexpr std::uint32_t kTtl[] = {5, 20, 600};
  constexpr std::uint32_t kPlacements[] = {300, 3'000, 1'000'000};
  config.max_push_bytes = dice.one_of(kPushBytes);
  config.placement_ttl_s = dice.one_of(kTtl);
  config.max_placements = dice.one_of(kPlacements);
  config.depth_bucket_s = 5;  // so that a mark lives and ends within the run
  config.flush_interval_ms = static_cast<std::uint32_t>(5 + dice.below(21));
  config.suspicion_ms = static_cast<std::uint32_t>(1'000 + 500 * dice.below(3));
  if (scenario.nodes > 8) config.ping_interval_ms = 500;
  if (scenario.nodes > 16) config.ping_interval_ms = 1'000;
  config.ping_timeout_ms = 2 * config.ping_interval_ms;
  return config;
}

}  // namespace

Scenario draw_scenario(std::uint64_t seed) {
  Dice dice(seed * 0x9e3779b97f4a7c15ULL + 1);
  Scenario scenario;
  scenario.seed = seed;
  scenario.nodes = draw_nodes(dice);
  scenario.instances = draw_instances(dice);
  scenario.faults = 12 + dice.below(20);
  const double busy = scenario.nodes > 8 ? 3.0 : 20.0;
  scenario.changes_per_s = dice.between(1.0, busy);
  if (dice.chance(0.3)) scenario.loss = dice.between(0.001, 0.05);
  scenario.delay.min_ms = dice.between(0.05, 1.0);
  scenario.delay.max_ms = scenario.delay.min_ms + dice.between(0.1, dice.chance(0.2) ? 40.0 : 3.0);
  scenario.some_stay_down = scenario.nodes > 2 && dice.chance(0.3);
  scenario.cut_stays = scenario.nodes > 2 && dice.chance(0.2);
  scenario.config = draw_config(scenario, dice);
  constexpr std::uint32_t kHorizons[] = {3, 8, 86'400};
  scenario.config.collection_horizon_s = dice.one_of(kHorizons);
  return scenario;
}

void build(const Scenario& scenario, SimCluster& cluster) {
  cluster.network().set_delay(scenario.delay);
  cluster.network().set_loss(scenario.loss);
  cluster.add_many(scenario.nodes);
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    node::MeshConfig config = scenario.config;
    config.node_name = cluster.node(i).config.node_name;
    config.advertise = cluster.node(i).config.advertise;
    config.http_advertise = cluster.node(i).config.http_advertise;
    config.seeds = cluster.node(i).config.seeds;
    cluster.node(i).config = config;
  }
}

}  // namespace dualmesh::sim
