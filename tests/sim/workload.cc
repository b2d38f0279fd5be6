#include "tests/sim/workload.h"

#include <fmt/format.h>

namespace dualmesh::sim {

using policies::Lifecycle;

void Workload::change() {
  std::vector<std::size_t> running;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (cluster_.node(i).runs()) running.push_back(i);
  }
  if (running.empty()) return;
  const std::size_t node = dice_.one_of(running);
  SimNode& chosen = cluster_.node(node);
  switch (dice_.below(16)) {
    case 0:
    case 1:
      administer(node);
      return;
    case 2:
      chosen.mesh->set_policy(dice_.chance(0.5) ? "dualmap" : "round_robin");
      return;
    case 3:
      chosen.host.say_depth(dice_.below(50), static_cast<std::uint32_t>(1 + dice_.below(8)));
      break;
    case 4:
    case 5:
    case 6:
      place(node);
      break;
    default:
      say_load(node);
  }
  chosen.mesh->local_changes();
}

void Workload::say_load(std::size_t node) {
  SimNode& chosen = cluster_.node(node);
  const auto& instances = chosen.mesh->view()->instances;
  if (instances.empty()) return;
  const auto& instance = dice_.one_of(instances);
  policies::Load load;
  load.queued_requests = static_cast<std::uint32_t>(dice_.below(4));
  load.queued_tokens = load.queued_requests * 100;
  load.waiting.resize(load.queued_requests, {5'000, 100});
  load.decoding_requests = static_cast<std::uint32_t>(dice_.below(3));
  load.decoding_tokens = load.decoding_requests * (1 + dice_.below(500));
  chosen.host.say_load(instance.slot, load);
  said_[node][instance.name] = load;
}

void Workload::place(std::size_t node) {
  SimNode& chosen = cluster_.node(node);
  const auto& instances = chosen.mesh->view()->instances;
  if (instances.empty()) return;
  std::vector<policies::BlockKey> blocks(1 + dice_.below(12));
  for (auto& block : blocks) block = dice_.below(2'000);
  chosen.host.say_placement(dice_.one_of(instances).slot, std::move(blocks));
}

void Workload::burst(std::size_t node, std::size_t blocks) {
  SimNode& chosen = cluster_.node(node);
  const auto& instances = chosen.mesh->view()->instances;
  if (instances.empty()) return;
  std::vector<policies::BlockKey> placed(blocks);
  for (auto& block : placed) block = dice_.generator()();
  chosen.host.say_placement(dice_.one_of(instances).slot, std::move(placed));
  for (std::size_t i = 0; i < instances.size(); ++i) say_load(node);
  chosen.mesh->local_changes();
}

std::string Workload::some_name() {
  return (dice_.chance(0.5) ? "x" : "e") + std::to_string(dice_.below(8));
}

void Workload::administer(std::size_t node) {
  node::MeshNode& mesh = *cluster_.node(node).mesh;
  const std::string name = some_name();
  if (dice_.chance(0.4)) {
    const node::SeedInstance added{name,
                                   fmt::format("10.1.0.{}:9000", 1 + dice_.below(200)),
                                   {dice_.chance(0.5) ? "m" : "m3"},
                                   static_cast<double>(1 + dice_.below(3))};
    if (mesh.change(added).has_value()) expect(node, name, Lifecycle::active);
    return;
  }
  constexpr Lifecycle kLifecycles[] = {Lifecycle::active, Lifecycle::draining, Lifecycle::removed};
  const Lifecycle lifecycle = dice_.one_of(kLifecycles);
  if (!mesh.change(name, lifecycle).has_value()) return;
  removals_ += lifecycle == Lifecycle::removed ? 1 : 0;
  expect(node, name, lifecycle);
}

// A command follows all that its node has seen, so that the node obeys it at once.
void Workload::expect(std::size_t node, const std::string& instance, Lifecycle lifecycle) {
  const auto held = cluster_.node(node).mesh->registry().find(instance);
  if (held.has_value() && held->lifecycle == lifecycle) return;
  disobeyed_ =
      fmt::format("n{} took the command that {} be {} and holds {}", node, instance,
                  node::to_string(lifecycle), held ? node::to_string(held->lifecycle) : "nothing");
}

void Workload::finish_requests() {
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    SimNode& node = cluster_.node(i);
    if (!node.up()) continue;
    for (const auto& instance : node.mesh->view()->instances) {
      node.host.say_load(instance.slot, {});
    }
    node.mesh->local_changes();
    said_[i].clear();
  }
}

policies::Load Workload::truth(std::size_t observer, const std::string& instance) const {
  policies::Load sum;
  for (const auto& [node, loads] : said_) {
    if (node == observer || !cluster_.node(node).up()) continue;
    const auto said = loads.find(instance);
    if (said != loads.end()) sum += said->second;
  }
  return sum;
}

}  // namespace dualmesh::sim
