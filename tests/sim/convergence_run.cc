#include "tests/sim/convergence_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tests/sim/faults.h"
#include "tests/sim/workload.h"

namespace dualmesh::sim {
namespace {

constexpr double kJoinMs = 20'000.0;
constexpr double kChangesPerS = 50.0;  // in the whole mesh
constexpr std::size_t kInstances = 8;
constexpr std::size_t kStormPerLook = 1;  // of each node, so 1,000 a second
constexpr double kDownMs = 6'000.0;

Scenario scenario_of(const ConvergenceOptions& options) {
  Scenario scenario;
  scenario.seed = options.seed;
  scenario.nodes = options.nodes;
  scenario.instances = kInstances;
  scenario.trouble_ms = options.seconds * 1e3;
  scenario.changes_per_s = kChangesPerS;
  scenario.delay = {0.5, 2.0};
  for (std::size_t i = 0; i < kInstances; ++i) {
    scenario.config.instances.push_back(
        {"e" + std::to_string(i), fmt::format("10.0.0.{}:9000", i + 1), {"m"}, 1.0});
  }
  return scenario;
}

std::uint64_t load_digest(const node::SharedState& state) {
  std::uint64_t sum = 0;
  const auto add = [&sum](crdt::Origin writer, const net::LoadFeed& feed) {
    if (feed.version() == crdt::Version{}) return;
    crdt::EntryHasher hasher;
    hasher.add(writer.node.value).add(writer.epoch.value).add(feed.version().value);
    sum += hasher.add(feed.digest().sum).finish();
  };
  add(state.self(), state.own_load());
  for (const auto& [node, column] : state.loads().all()) add({node, column.epoch}, column.feed);
  return sum;
}

DigestCounts count_digests(const SimCluster& cluster) {
  std::set<std::uint64_t> rings;
  std::set<std::uint64_t> registries;
  std::set<std::uint64_t> depths;
  std::set<std::uint64_t> loads;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (!cluster.node(i).up()) continue;
    const node::MeshNode& mesh = *cluster.node(i).mesh;
    rings.insert(mesh.view()->ring_digest);
    registries.insert(mesh.state().registry_digest());
    depths.insert(mesh.state().depth().digest().sum + mesh.state().depth().digest().count);
    loads.insert(load_digest(mesh.state()));
  }
  return {rings.size(), registries.size(), depths.size(), loads.size()};
}

class Run {
 public:
  explicit Run(const ConvergenceOptions& options)
      : scenario_(scenario_of(options)),
        dice_(options.seed ^ 0xd1ce),
        cluster_(options.seed),
        workload_(cluster_, dice_),
        watch_(cluster_) {
    told_.options = options;
    build(scenario_, cluster_);
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      told_.names.push_back(cluster_.node(i).config.node_name);
    }
    for (std::size_t i = 0; i < cluster_.size(); ++i) {  // known before they start
      for (std::size_t j = 0; j < cluster_.size(); ++j) {
        cluster_.network().direction(cluster_.node(i).address, cluster_.node(j).address);
      }
    }
    told_.nodes.resize(cluster_.size());
    worst_.resize(cluster_.size());
    sent_.resize(cluster_.size());
    caught_up_.resize(cluster_.size());
  }

  Convergence go(const std::function<void(double)>& progress) {
    const bool joins = told_.options.scenario == "join";
    for (std::size_t i = 0; i + (joins ? 1 : 0) < cluster_.size(); ++i) cluster_.start(i);
    cluster_.run_until([this] { return cluster_.all_ready() && cluster_.converged(); }, kJoinMs,
                       50);
    begin_ms_ = cluster_.now_ms();
    for (std::size_t i = 0; i < cluster_.size(); ++i) sent_[i] = sent_by(i);
    Faults faults(scenario_, cluster_, dice_,
                  {[this](std::size_t node) { workload_.forget(node); }, {}}, plan());
    double next_change = now();
    for (std::size_t sample = 1; now() < scenario_.trouble_ms; ++sample) {
      while (now() + kLookMs / 2 < static_cast<double>(sample) * kSampleMs)
        step(faults, next_change);
      take_sample();
      if (progress) progress(now());
    }
    finish();
    return std::move(told_);
  }

 private:
  double now() const { return cluster_.now_ms() - begin_ms_; }

  std::vector<Fault> plan() {
    const double length = scenario_.trouble_ms;
    const std::string& scenario = told_.options.scenario;
    std::vector<Fault> planned;
    if (scenario == "partition") {
      Fault fault{.kind = FaultKind::partition, .begins_ms = length / 9, .ends_ms = length * 7 / 9};
      for (std::size_t i = 0; i < cluster_.size() / 2; ++i) fault.group.push_back(i);
      told_.troubles.push_back({"partition", fault.begins_ms, fault.ends_ms});
      planned.push_back(fault);
    } else if (scenario == "restart") {
      const std::size_t restarts = std::max<std::size_t>(cluster_.size() / 3, 1);
      for (std::size_t i = 0; i < restarts; ++i) {
        const double at =
            length * (0.1 + 0.6 * static_cast<double>(i) / static_cast<double>(restarts));
        const double down = std::min(kDownMs, length / 10);
        planned.push_back({.kind = FaultKind::crash_with_disk,
                           .begins_ms = at,
                           .ends_ms = at + down,
                           .a = cluster_.size() - 1 - i});
        told_.troubles.push_back({told_.names[planned.back().a] + " down", at, at + down});
      }
    } else if (scenario == "storm") {
      told_.troubles.push_back({"1,000 changes/s and node", length * 0.3, length * 0.6});
    } else {
      told_.troubles.push_back({told_.names.back() + " joins", length * 0.4, length * 0.4});
    }
    told_.measured_from_ms = told_.troubles.back().ends_ms;
    for (Fault& fault : planned) fault.begins_ms += begin_ms_, fault.ends_ms += begin_ms_;
    return planned;
  }

  void step(Faults& faults, double& next_change) {
    cluster_.run_for(kLookMs);
    watch_.look();
    look();
    faults.tick();
    const std::string& scenario = told_.options.scenario;
    const Trouble& trouble = told_.troubles.back();
    if (scenario == "join" && now() >= trouble.begins_ms && !cluster_.node(newest()).up()) {
      cluster_.start(newest());
    }
    if (scenario == "storm" && now() >= trouble.begins_ms && now() < trouble.ends_ms) storm();
    for (; now() >= next_change && now() < scenario_.trouble_ms - kQuietMs; ++told_.changes) {
      workload_.change();
      next_change += dice_.gap_ms(kChangesPerS);
    }
  }

  std::size_t newest() const { return cluster_.size() - 1; }

  void storm() {
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      const auto& instances = cluster_.node(i).mesh->view()->instances;
      if (instances.empty()) continue;
      for (std::size_t said = 0; said < kStormPerLook; ++said, ++told_.changes) {
        policies::Load load;
        load.queued_requests = static_cast<std::uint32_t>(1 + dice_.below(50));
        load.queued_tokens = dice_.below(100'000);
        cluster_.node(i).host.say_load(dice_.one_of(instances).slot, load);
      }
      cluster_.node(i).mesh->local_changes();
    }
  }

  void look() {
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      const SimNode& node = cluster_.node(i);
      if (!node.up()) {
        caught_up_[i].reset();
        continue;
      }
      const LagWatch::Behind behind = watch_.behind(i);
      NodeSample& worst = worst_[i];
      worst.up = true;
      worst.streams = std::max(worst.streams, behind.streams);
      worst.changes = std::max(worst.changes, behind.changes);
      worst.lag_ms = std::max(worst.lag_ms, behind.lag_ms(cluster_.now_ms()));
      const double from = begin_ms_ + told_.measured_from_ms;
      if (!caught_up_[i] && cluster_.now_ms() > from && node.mesh->ready() &&
          behind.since_ms.value_or(cluster_.now_ms()) > from) {
        caught_up_[i] = cluster_.now_ms() - from;
      }
    }
  }

  std::uint64_t sent_by(std::size_t node) {
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (i == node) continue;
      bytes +=
          cluster_.network().bytes_between(cluster_.node(node).address, cluster_.node(i).address);
    }
    return bytes;
  }

  void take_sample() {
    ConvergenceSample sample{now(), {}, count_digests(cluster_)};
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      NodeSample& node = worst_[i];
      node.bytes = sent_by(i) - sent_[i];
      sent_[i] += node.bytes;
      NodeOutcome& outcome = told_.nodes[i];
      outcome.bytes += node.bytes;
      outcome.worst_lag_ms = std::max(outcome.worst_lag_ms, node.lag_ms);
      outcome.most_changes = std::max(outcome.most_changes, node.changes);
      if (now() <= told_.troubles.front().begins_ms) outcome.worst_calm_ms = outcome.worst_lag_ms;
      sample.nodes.push_back(std::exchange(node, {}));
    }
    told_.samples.push_back(std::move(sample));
  }

  void finish() {
    told_.caught_up_ms = 0.0;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      told_.nodes[i].caught_up_ms = caught_up_[i];
      if (!caught_up_[i]) told_.caught_up_ms.reset();
      if (told_.caught_up_ms && caught_up_[i]) {
        told_.caught_up_ms = std::max(*told_.caught_up_ms, *caught_up_[i]);
      }
    }
    told_.agreed = cluster_.all_ready() && cluster_.converged();
  }

  const Scenario scenario_;
  Dice dice_;
  SimCluster cluster_;
  Workload workload_;
  LagWatch watch_;
  Convergence told_;
  double begin_ms_ = 0.0;
  std::vector<NodeSample> worst_;
  std::vector<std::uint64_t> sent_;
  std::vector<std::optional<double>> caught_up_;
};

}  // namespace

bool is_scenario(const std::string& name) {
  return name == "partition" || name == "join" || name == "storm" || name == "restart";
}

Convergence run_convergence(const ConvergenceOptions& options,
                            const std::function<void(double)>& progress) {
  return Run(options).go(progress);
}

}  // namespace dualmesh::sim
