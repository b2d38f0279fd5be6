#include "tests/sim/faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace dualmesh::sim {
namespace {

constexpr std::size_t kSeeds = 2;  // the first two nodes are everybody's

bool of_links(FaultKind kind) { return kind <= FaultKind::partition_one_way; }

bool takes_down(FaultKind kind) {
  return kind >= FaultKind::crash_with_disk && kind <= FaultKind::leave;
}

// What a node's state directory would hold: everything that configurations did not say.
std::function<void(node::MeshNode&)> disk_of(const node::MeshNode& mesh) {
  constexpr std::size_t kAll = 1'000'000;
  auto registry = mesh.state().registry().delta_since({}, kAll);
  std::erase_if(registry.entries,
                [](const auto& row) { return row.value.stamp.writer == crdt::NodeId{}; });
  const auto settings = mesh.state().settings().delta_since({}, kAll);
  return [registry, settings](node::MeshNode& next) { next.restore(registry, settings); };
}

}  // namespace

Faults::Faults(const Scenario& scenario, SimCluster& cluster, Dice& dice, Hooks hooks)
    : scenario_(scenario), cluster_(cluster), dice_(dice), hooks_(std::move(hooks)) {
  const double begin = cluster.now_ms();
  for (std::size_t i = 0; i < scenario.faults; ++i) {
    // Some just before the end, so that there is something to heal.
    const double earliest = i < 3 ? scenario.trouble_ms - 3'000 : 0.0;
    planned_.push_back(draw(begin + dice_.between(earliest, scenario.trouble_ms - 100)));
  }
  std::stable_sort(planned_.begin(), planned_.end(),
                   [](const Fault& x, const Fault& y) { return x.begins_ms < y.begins_ms; });
}

Fault Faults::draw(double at_ms) {
  Fault fault;
  fault.kind = static_cast<FaultKind>(dice_.below(kFaultKinds));
  fault.begins_ms = at_ms;
  fault.ends_ms = at_ms + dice_.between(300.0, dice_.chance(0.3) ? 15'000.0 : 5'000.0);
  fault.a = dice_.below(cluster_.size());
  fault.b = (fault.a + 1 + dice_.below(cluster_.size() - 1)) % cluster_.size();
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (dice_.chance(0.5)) fault.group.push_back(i);
  }
  switch (fault.kind) {
    case FaultKind::loss:
      fault.size = dice_.between(0.01, 0.2);
      break;
    case FaultKind::delay:
      fault.size = dice_.between(20.0, 400.0);
      break;
    case FaultKind::slow_peer:
      fault.size = dice_.between(2.0, 50.0);
      break;
    case FaultKind::clock_forward:
    case FaultKind::clock_back:
      // Beyond a minute, what the node says is refused until its clock is right again.
      fault.size = dice_.chance(0.3) ? dice_.between(61'000, 80'000) : dice_.between(10, 50'000);
      break;
    case FaultKind::oversized_delta:
      fault.size = dice_.between(500, 4'000);
      break;
    default:
      break;
  }
  return fault;
}

double Faults::next_ms() const {
  double next = begun_ < planned_.size() ? planned_[begun_].begins_ms
                                         : std::numeric_limits<double>::infinity();
  for (const Fault& fault : under_way_) next = std::min(next, fault.ends_ms);
  return next;
}

void Faults::tick() {
  const double now = cluster_.now_ms();
  const auto due = std::stable_partition(under_way_.begin(), under_way_.end(),
                                         [now](const Fault& fault) { return fault.ends_ms > now; });
  const std::vector<Fault> over(due, under_way_.end());
  under_way_.erase(due, under_way_.end());
  for (const Fault& fault : over) end(fault);
  for (; begun_ < planned_.size() && planned_[begun_].begins_ms <= now; ++begun_) {
    begin(planned_[begun_]);
  }
}

void Faults::begin(Fault fault) {
  SimNode& node = cluster_.node(fault.a);
  const bool needs_node = takes_down(fault.kind) || fault.kind == FaultKind::pause ||
                          fault.kind == FaultKind::oversized_delta;
  // One node at least goes on; whatever cannot happen now is replaced by what always can.
  if (needs_node && (!node.runs() || running().size() < 2)) fault.kind = FaultKind::reset_links;
  seen_.note(fault.kind);
  told_ += fmt::format("{:9.1f} ms for {:7.1f} ms: {} n{} n{} size {:.2f}\n", fault.begins_ms,
                       fault.ends_ms - fault.begins_ms, to_string(fault.kind), fault.a, fault.b,
                       fault.size);
  under_way_.push_back(fault);
  if (takes_down(fault.kind)) return bring_down(fault);
  if (of_links(fault.kind)) apply_links();
  switch (fault.kind) {
    case FaultKind::reset_links:
    case FaultKind::cut_dials:  // who is connected already would notice nothing
      return cluster_.network().reset_links(node.address, cluster_.node(fault.b).address);
    case FaultKind::pause:
      return cluster_.pause(fault.a);
    case FaultKind::clock_forward:
      node.clock_skew_ms += static_cast<std::int64_t>(fault.size);
      return;
    case FaultKind::clock_back:
      node.clock_skew_ms -= static_cast<std::int64_t>(fault.size);
      return;
    case FaultKind::oversized_delta:
      return hooks_.burst(fault.a, static_cast<std::size_t>(fault.size));
    default:
      return;
  }
}

void Faults::end(const Fault& fault) {
  if (of_links(fault.kind)) return apply_links();
  if (takes_down(fault.kind)) return bring_up(fault);
  SimNode& node = cluster_.node(fault.a);
  if (fault.kind == FaultKind::pause) return cluster_.resume(fault.a);
  if (fault.kind == FaultKind::clock_forward) {
    node.clock_skew_ms -= static_cast<std::int64_t>(fault.size);
  } else if (fault.kind == FaultKind::clock_back) {
    node.clock_skew_ms += static_cast<std::int64_t>(fault.size);
  }
}

void Faults::bring_down(const Fault& fault) {
  SimNode& node = cluster_.node(fault.a);
  node.before_start = nullptr;
  if (fault.kind == FaultKind::crash_with_disk || fault.kind == FaultKind::new_ring_generation) {
    node.before_start = disk_of(*node.mesh);
  }
  if (fault.kind == FaultKind::new_ring_generation) {
    // Another content each time, or two generations would be equal but for their number.
    node.config.ring_generation = ++generation_;
    node.config.chain.block_bytes = 512 + 64 * generation_;
    node.config.ring.points_per_weight = 8 + generation_ % 3;
  }
  if (fault.kind == FaultKind::leave && node.runs()) {
    node.mesh->leave(500, [] {});
    cluster_.run_for(100.0);
  }
  hooks_.before_crash(fault.a);
  if (fault.kind == FaultKind::power_cut) return cluster_.vanish(fault.a);
  cluster_.crash(fault.a);
}

void Faults::bring_up(const Fault& fault) {
  if (!cluster_.node(fault.a).up()) cluster_.start(fault.a);
}

void Faults::end_all() {
  const auto over = std::move(under_way_);
  under_way_.clear();
  begun_ = planned_.size();
  bool kept_one_down = false;
  for (const Fault& fault : over) {
    if (takes_down(fault.kind) && scenario_.some_stay_down && !kept_one_down) {
      kept_one_down = true;
      continue;
    }
    end(fault);
  }
  cluster_.heal();
  cluster_.network().set_delay(scenario_.delay);
  if (scenario_.cut_stays) leave_one_cut();
}

void Faults::leave_one_cut() {
  const std::vector<std::size_t> up = running();
  if (up.size() < 3) return;
  const std::size_t first = dice_.below(up.size());
  const std::pair chosen{up[first], up[(first + 1) % up.size()]};
  // Who has left is dialled by nobody: when it comes back, it must reach one of the seeds.
  const bool only_seed = running_seeds() < 2 && std::min(chosen.first, chosen.second) < kSeeds;
  if (only_seed) return;
  cut_ = chosen;
  const std::string& a = cluster_.node(cut_->first).address;
  const std::string& b = cluster_.node(cut_->second).address;
  if (dice_.chance(0.3)) {
    cluster_.network().set_cut_one_way(a, b, true);
  } else {
    cluster_.network().set_cut(a, b, true);
  }
  told_ += fmt::format("the link of n{} and n{} stays cut\n", cut_->first, cut_->second);
}

// All links as the scenario has them, then every fault that is under way.
void Faults::apply_links() {
  SimNetwork& network = cluster_.network();
  network.heal_all();
  network.set_loss(scenario_.loss);
  network.set_delay(scenario_.delay);
  for (const Fault& fault : under_way_) {
    if (of_links(fault.kind)) apply(fault);
  }
}

void Faults::apply(const Fault& fault) {
  SimNetwork& network = cluster_.network();
  const auto address = [this](std::size_t i) -> const std::string& {
    return cluster_.node(i).address;
  };
  const auto of_node = [&](auto&& change) {
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (i == fault.a) continue;
      change(network.direction(address(fault.a), address(i)));
      change(network.direction(address(i), address(fault.a)));
    }
  };
  const auto in_group = [&fault](std::size_t i) {
    return std::find(fault.group.begin(), fault.group.end(), i) != fault.group.end();
  };
  switch (fault.kind) {
    case FaultKind::loss:
      return network.set_loss(std::max(scenario_.loss, fault.size));
    case FaultKind::delay:
      return of_node([&](SimDirection& way) { way.delay = {fault.size * 0.5, fault.size}; });
    case FaultKind::slow_peer:
      return of_node([&](SimDirection& way) { way.bytes_per_ms = fault.size; });
    case FaultKind::cut_link:
      return network.set_cut(address(fault.a), address(fault.b), true);
    case FaultKind::cut_one_way:
      return network.set_cut_one_way(address(fault.a), address(fault.b), true);
    case FaultKind::cut_dials:
      network.direction(address(fault.a), address(fault.b)).dials_cut = true;
      return;
    case FaultKind::reset_links:
      return;  // it was done when it began
    default:
      break;
  }
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    for (std::size_t j = 0; j < cluster_.size(); ++j) {
      if (!in_group(i) || in_group(j)) continue;
      network.set_cut_one_way(address(i), address(j), true);
      if (fault.kind == FaultKind::partition) {
        network.set_cut_one_way(address(j), address(i), true);
      }
    }
  }
}

std::vector<std::size_t> Faults::running() const {
  std::vector<std::size_t> nodes;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (cluster_.node(i).runs()) nodes.push_back(i);
  }
  return nodes;
}

std::size_t Faults::running_seeds() const {
  const std::vector<std::size_t> up = running();
  return static_cast<std::size_t>(
      std::count_if(up.begin(), up.end(), [](std::size_t node) { return node < kSeeds; }));
}

std::string Faults::story() const { return told_; }

}  // namespace dualmesh::sim
