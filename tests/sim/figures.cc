#include "tests/sim/figures.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "tests/sim/scenario.h"

namespace dualmesh::sim {
namespace {

constexpr double kMsPerHour = 3'600'000.0;

void print(nlohmann::json figure) { fmt::print("{}\n", figure.dump()); }

bool start_mesh(SimCluster& cluster, std::size_t nodes, double at_most_ms) {
  cluster.network().set_delay({2.0, 2.0});
  cluster.add_many(nodes);
  cluster.start_all();
  return cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, at_most_ms,
                           50) >= 0;
}

struct BeaconSet {
  std::size_t node;
  std::uint64_t value;
  double at_ms;
};

// When the scheduler of `at` had read the beacon, or one set after it; negative: never.
double read_ms(const SimNode& at, crdt::NodeId writer, std::uint64_t value) {
  for (const node::BeaconRecord& record : at.mesh->beacons()) {
    if (record.node == writer && record.value >= value) {
      return static_cast<double>(record.at_ns) / 1e6;
    }
  }
  return -1.0;
}

}  // namespace

double percentile(std::vector<double>& values, double share) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  return values.empty() ? 0.0 : values[std::min(rank, values.size() - 1)];
}

int propagation_figure(const FigureOptions& options) {
  constexpr std::size_t kChanges = 200;
  const std::size_t nodes = options.nodes == 0 ? 32 : options.nodes;
  SimCluster cluster(options.seed);
  Dice dice(options.seed);
  if (!start_mesh(cluster, nodes, 30'000)) return 1;
  cluster.network().set_loss(0.05);
  cluster.run_for(2'000);
  std::vector<BeaconSet> sets;
  for (std::uint64_t value = 1; value <= kChanges; ++value) {
    cluster.run_for(dice.between(100, 500));
    const std::size_t node = dice.below(nodes);
    sets.push_back({node, value, cluster.now_ms()});
    cluster.node(node).mesh->set_beacon(value);
  }
  cluster.run_for(20'000);
  std::vector<double> one;   // until a node has it
  std::vector<double> last;  // until the last has it
  std::size_t never = 0;
  for (const BeaconSet& set : sets) {
    const crdt::NodeId writer = cluster.node(set.node).mesh->state().self().node;
    double latest = 0.0;
    for (std::size_t i = 0; i < nodes; ++i) {
      if (i == set.node) continue;
      const double at = read_ms(cluster.node(i), writer, set.value);
      never += at < 0 ? 1 : 0;
      one.push_back(at - set.at_ms);
      latest = std::max(latest, at - set.at_ms);
    }
    last.push_back(latest);
  }
  print({{"figure", "propagation-loss"},
         {"nodes", nodes},
         {"loss", 0.05},
         {"link_ms", 2.0},
         {"changes", sets.size()},
         {"never", never},
         {"one_p50_ms", percentile(one, 0.5)},
         {"one_p99_ms", percentile(one, 0.99)},
         {"last_p50_ms", percentile(last, 0.5)},
         {"last_p99_ms", percentile(last, 0.99)},
         {"last_max_ms", percentile(last, 1.0)}});
  return never == 0 ? 0 : 1;
}

int memory_figure(const FigureOptions& options) {
  const std::size_t nodes = options.nodes == 0 ? 8 : options.nodes;
  constexpr double kChangesPerS = 1'000;
  SimCluster cluster(options.seed);
  Dice dice(options.seed);
  if (!start_mesh(cluster, nodes, 10'000)) return 1;
  std::vector<std::size_t> in_use;
  const double end = cluster.now_ms() + options.hours * kMsPerHour;
  const double sample_ms = options.hours * kMsPerHour / 12;
  double sample = cluster.now_ms() + sample_ms;
  std::uint64_t changes = 0;
  while (cluster.now_ms() < end) {
    cluster.run_for(10.0);  // each node's changes of ten milliseconds
    for (std::size_t i = 0; i < nodes; ++i) {
      for (double said = 0; said < kChangesPerS / 100; ++said, ++changes) {
        policies::Load load;
        load.queued_requests = static_cast<std::uint32_t>(dice.below(50));
        load.queued_tokens = dice.below(100'000);
        cluster.node(i).host.say_load(static_cast<policies::Slot>(dice.below(3)), load);
      }
      cluster.node(i).mesh->local_changes();
    }
    if (cluster.now_ms() < sample) continue;
    sample += sample_ms;
    in_use.push_back(mallinfo2().uordblks);
  }
  const auto [least, most] = std::minmax_element(in_use.begin() + 1, in_use.end());
  print({{"figure", "memory"},
         {"nodes", nodes},
         {"hours", options.hours},
         {"changes", changes},
         {"bytes_in_use", in_use},
         {"least_after_warm_up", *least},
         {"most_after_warm_up", *most},
         {"growth", static_cast<double>(*most) / static_cast<double>(*least)}});
  return 0;
}

int deaths_figure(const FigureOptions& options) {
  const std::size_t nodes = options.nodes == 0 ? 16 : options.nodes;
  SimCluster cluster(options.seed);
  if (!start_mesh(cluster, nodes, 30'000)) return 1;
  cluster.network().set_loss(0.05);
  const double end = cluster.now_ms() + options.hours * kMsPerHour;
  while (cluster.now_ms() < end) cluster.run_for(10'000);
  std::uint64_t suspicions = 0;
  std::uint64_t deaths = 0;
  std::uint64_t refutations = 0;
  for (std::size_t i = 0; i < nodes; ++i) {
    const node::MeshNode& mesh = *cluster.node(i).mesh;
    suspicions += mesh.peers().counters().suspicions;
    deaths += mesh.peers().counters().deaths;
    refutations += mesh.refutations();
  }
  print({{"figure", "false-deaths"},
         {"nodes", nodes},
         {"loss", 0.05},
         {"hours", options.hours},
         {"segments_lost", cluster.network().segments_lost()},
         {"connections_reset", cluster.network().resets_by_loss()},
         {"suspicions", suspicions},
         {"refutations", refutations},
         {"deaths", deaths}});
  return deaths == 0 ? 0 : 1;
}

int run_figure(const FigureOptions& options) {
  if (options.name == "propagation-loss") return propagation_figure(options);
  if (options.name == "heal") return heal_figure(options);
  if (options.name == "memory") return memory_figure(options);
  if (options.name == "false-deaths") return deaths_figure(options);
  fmt::print("there is no figure called '{}'\n", options.name);
  return 2;
}

}  // namespace dualmesh::sim
