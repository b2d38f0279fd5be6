#include "tests/sim/checkers.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace dualmesh::sim {
namespace {

constexpr std::size_t kChoices = 64;  // keys asked of a ring
constexpr std::size_t kBytesBesidesPush = 192 * 1'024;

auto rank(const crdt::Member& member) {
  return std::tuple(member.epoch, member.refutations, member.status);
}

const crdt::LastWriter<std::string>* lifecycle_of(const node::SharedState& state,
                                                  const std::string& name) {
  return state.registry().find({name, static_cast<std::uint8_t>(node::InstanceField::lifecycle)});
}

template <class Columns>
std::string stray_column(const node::SharedState& state, const Columns& columns, const char* what) {
  for (const auto& [node, column] : columns.all()) {
    const crdt::Member* member = state.members().find(node);
    if (member == nullptr) return fmt::format("holds {} of a node it does not know", what);
    if (!member->reachable()) return fmt::format("holds {} of {}, dead", what, member->name);
    if (member->epoch != column.epoch) {
      return fmt::format("holds {} of {}, epoch {}, whose epoch is {}", what, member->name,
                         column.epoch.value, member->epoch.value);
    }
  }
  return "";
}

// The streams of which two nodes hold different contents.
std::string streams_that_differ(const node::SharedState& a, const node::SharedState& b) {
  std::map<std::pair<net::StreamKind, crdt::NodeId>, std::string> held[2];
  const node::SharedState* states[2] = {&a, &b};
  for (int i = 0; i < 2; ++i) {
    for (const net::StreamPosition& at : states[i]->positions()) {
      if (!net::is_table(at.kind) && at.version == crdt::Version{}) continue;
      const crdt::NodeId writer = net::is_table(at.kind) ? crdt::NodeId{} : at.origin.node;
      const auto version = net::is_table(at.kind) ? 0 : at.version.value;
      held[i][{at.kind, writer}] =
          fmt::format("{}:{}@{}", at.digest.count, at.digest.sum % 10'000, version);
    }
  }
  std::string text;
  for (const auto& [stream, contents] : held[0]) {
    const auto other = held[1].find(stream);
    const std::string theirs = other == held[1].end() ? "none" : other->second;
    if (theirs != contents) {
      text += fmt::format(" {} {}/{}", net::to_string(stream.first), contents, theirs);
    }
  }
  for (const auto& [stream, contents] : held[1]) {
    if (!held[0].contains(stream))
      text += fmt::format(" {} none/{}", net::to_string(stream.first), contents);
  }
  return text;
}

// What a scheduler could choose of it.
bool can_choose(const policies::FleetView& view, policies::Slot slot) {
  for (const auto& [name, model] : view.models) {
    if (std::count(model.active.begin(), model.active.end(), slot) != 0) return true;
    if (std::count(model.serving.begin(), model.serving.end(), slot) != 0) return true;
    for (std::size_t i = 0; i < kChoices; ++i) {
      const policies::BlockKey key = i * 0x9e3779b97f4a7c15ULL;
      const auto any = [](policies::Slot) { return true; };
      if (model.ring_a.owner(key, any) == slot || model.ring_b.owner(key, any) == slot) return true;
    }
  }
  return false;
}

std::string chosen_of(const policies::FleetView& view,
                      const std::set<std::pair<std::string, crdt::Stamp>>& removals) {
  for (const auto& instance : view.instances) {
    const auto removal = removals.lower_bound({instance.name, {}});
    if (removal == removals.end() || removal->first != instance.name) continue;
    if (can_choose(view, instance.slot)) return instance.name;
  }
  return "";
}

}  // namespace

Checkers::Checkers(const Scenario& scenario, SimCluster& cluster, const Workload& workload)
    : scenario_(scenario), cluster_(cluster), workload_(workload), seen_(cluster.size()) {}

std::string Checkers::watch() {
  if (!workload_.disobeyed().empty()) return workload_.disobeyed();
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.node(i).runs()) continue;
    if (seen_[i].life != cluster_.node(i).lives) seen_[i] = Seen{.life = cluster_.node(i).lives};
    note_partition(i);
    for (std::string problem : {check_columns(i), check_collected(i), check_memberships(i),
                                check_removed(i), check_bounds(i)}) {
      if (!problem.empty()) return fmt::format("n{} {}", i, problem);
    }
  }
  return "";
}

std::string Checkers::check_columns(std::size_t node) const {
  const node::SharedState& state = cluster_.node(node).mesh->state();
  for (std::string stray :
       {stray_column(state, state.loads(), "load"), stray_column(state, state.healths(), "health"),
        stray_column(state, state.statuses(), "status"),
        stray_column(state, state.residencies(), "placements")}) {
    if (!stray.empty()) return stray;
  }
  return "";
}

std::string Checkers::check_memberships(std::size_t node) {
  const node::SharedState& state = cluster_.node(node).mesh->state();
  Seen& seen = seen_[node];
  if (state.self().epoch < seen.epoch) return "went back to a lower epoch";
  seen.epoch = state.self().epoch;
  std::string problem;
  state.members().for_each([&](crdt::NodeId id, const crdt::Member& member) {
    auto [known, fresh] = seen.members.try_emplace(id, member);
    if (rank(member) < rank(known->second)) {
      problem = fmt::format("knew more of {} than it knows now", member.name);
    }
    known->second = member;
  });
  if (state.self_member().epoch != state.self().epoch) return "is known to itself by another epoch";
  return problem;
}

std::set<Checkers::Removal> Checkers::removed_at(std::size_t node) const {
  std::set<Removal> removals;
  constexpr auto kLifecycle = static_cast<std::uint8_t>(node::InstanceField::lifecycle);
  cluster_.node(node).mesh->state().registry().for_each(
      [&](const net::FieldKey& key, const crdt::LastWriter<std::string>& field) {
        if (key.field != kLifecycle || field.value != "removed") return;
        removals.emplace(key.instance, field.stamp);
      });
  return removals;
}

// A view follows the state within milliseconds, so that only what the same word had removed at the
// last look must be gone from it.
std::string Checkers::check_removed(std::size_t node) {
  std::set<Removal> now = removed_at(node);
  std::set<Removal> both;
  std::set_intersection(now.begin(), now.end(), seen_[node].removed.begin(),
                        seen_[node].removed.end(), std::inserter(both, both.end()));
  seen_[node].removed = std::move(now);
  const std::string chosen = chosen_of(*cluster_.node(node).mesh->view(), both);
  return chosen.empty() ? "" : fmt::format("can choose {}, which it holds as removed", chosen);
}

// Looks at what was removed at the last look and is not known any more.
std::string Checkers::check_collected(std::size_t node) {
  const node::SharedState& state = cluster_.node(node).mesh->state();
  const crdt::Stamp before = std::exchange(seen_[node].horizon, state.horizon());
  if (state.horizon() == before) return "";
  for (const auto& [name, removal] : seen_[node].removed) {
    if (cluster_.node(node).mesh->registry().find(name).has_value()) continue;
    collected_[name].push_back(
        {removal, node, cluster_.node(node).lives, state.counters().registries_taken});
    if (state.horizon().writer != state.self().node) continue;  // it follows who has collected
    for (std::size_t other = 0; other < cluster_.size(); ++other) {
      if (!cluster_.node(other).runs() || !lived_with(node, other)) continue;
      const node::SharedState& others = cluster_.node(other).mesh->state();
      if (others.horizon() >= state.horizon()) continue;  // a configuration has brought it back
      const auto* held = lifecycle_of(others, name);
      if (held == nullptr || held->value == "removed" || held->stamp >= removal) continue;
      return fmt::format("has collected {}, which n{} still uses", name, other);
    }
  }
  return "";
}

// Was it counted as living at the last look, and is it now, without having been gone in between?
bool Checkers::lived_with(std::size_t node, std::size_t other) const {
  const auto id = crdt::node_id_of(cluster_.node(other).config.node_name);
  const crdt::Member* now = cluster_.node(node).mesh->state().members().find(id);
  const auto before = seen_[node].members.find(id);
  return now != nullptr && before != seen_[node].members.end() && now->reachable() &&
         rank(*now) == rank(before->second);
}

// Whatever was said of it up to the removal that was collected does not count again, but for what
// a configuration lists: that has no time, and may bring a name back.
std::string Checkers::came_back(std::size_t node) const {
  for (const auto& [name, collections] : collected_) {
    const auto* held = lifecycle_of(cluster_.node(node).mesh->state(), name);
    if (held == nullptr || held->value == "removed") continue;
    if (held->stamp.writer == crdt::NodeId{}) continue;
    for (const Collection& collection : collections) {
      if (held->stamp > collection.removal || !still_counts(collection)) continue;
      return fmt::format("uses {} again, whose removal n{} has collected", name, collection.node);
    }
  }
  return "";
}

bool Checkers::still_counts(const Collection& collection) const {
  const SimNode& node = cluster_.node(collection.node);
  return node.up() && node.lives == collection.life &&
         node.mesh->state().counters().registries_taken == collection.registries_taken;
}

void Checkers::note_partition(std::size_t node) {
  const bool now = !cluster_.node(node).mesh->partition().whole();
  if (now && !std::exchange(seen_[node].partitioned, now)) ++partitions_;
  seen_[node].partitioned = now;
}

std::string Checkers::check_bounds(std::size_t node) const {
  const node::SharedState& state = cluster_.node(node).mesh->state();
  const node::MeshConfig& config = cluster_.node(node).config;
  if (state.members().size() > config.max_members) return "knows more members than it may";
  if (state.own_residency().size() > config.max_placements) return "holds more placements";
  const std::size_t names = node::kNamesPerInstance * std::size_t{config.max_instances};
  if (state.registry().size() > 6 * names) return "holds more registry fields than it may";
  for (const auto& [id, column] : state.residencies().all()) {
    if (column.feed.size() > 2 * std::size_t{config.max_placements}) {
      return "holds more placements of another than it may";
    }
  }
  if (cluster_.network().largest_backlog() >
      SimPipe::kSendBuffer + 2 * config.max_push_bytes + kBytesBesidesPush) {
    return fmt::format("let {} bytes pile up on a link", cluster_.network().largest_backlog());
  }
  return "";
}

std::string Checkers::difference() const {
  std::size_t first = cluster_.size();
  std::size_t up = 0;
  for (std::size_t i = 0; i < cluster_.size(); ++i) up += cluster_.node(i).up() ? 1 : 0;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.node(i).up()) continue;
    const node::MeshNode& mesh = *cluster_.node(i).mesh;
    if (!mesh.ready()) return fmt::format("n{} is not ready: {}", i, mesh.why_not_ready());
    if (first == cluster_.size()) first = i;
    const node::MeshNode& other = *cluster_.node(first).mesh;
    if (mesh.state().root() != other.state().root()) {
      return fmt::format("n{} and n{} hold different states:{}", first, i,
                         streams_that_differ(other.state(), mesh.state()));
    }
    if (mesh.view()->ring_digest != other.view()->ring_digest) {
      return fmt::format("n{} and n{} have different rings", first, i);
    }
    if (!mesh.view()->rings_agree) return fmt::format("n{} is told of other rings than its own", i);
    if (std::string rings = rings_differ(i); !rings.empty()) return fmt::format("n{} {}", i, rings);
    if (std::string back = came_back(i); !back.empty()) return fmt::format("n{} {}", i, back);
    if (mesh.partition().unreachable > cluster_.size() - up) {
      return fmt::format("n{} misses {} nodes, and {} are down", i, mesh.partition().unreachable,
                         cluster_.size() - up);
    }
    if (!(mesh.view()->settings == other.view()->settings)) {
      return fmt::format("n{} and n{} have different settings", first, i);
    }
    if (mesh.view()->live_nodes != up) {
      return fmt::format("n{} counts {} live nodes of {}", i, mesh.view()->live_nodes, up);
    }
    if (std::string links = links_differ(i); !links.empty()) return fmt::format("n{} {}", i, links);
    if (std::string loads = loads_differ(i); !loads.empty()) return fmt::format("n{} {}", i, loads);
  }
  return "";
}

std::string Checkers::links_differ(std::size_t node) const {
  const node::MeshNode& mesh = *cluster_.node(node).mesh;
  std::size_t others = 0;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (i == node || !cluster_.node(i).up()) continue;
    others += cut_between(i, node) ? 0 : 1;
    const std::string& name = cluster_.node(i).config.node_name;
    const auto* member = mesh.state().members().find(crdt::node_id_of(name));
    const auto* peer = mesh.peers().find(crdt::node_id_of(name));
    if (member == nullptr || member->status != crdt::MemberStatus::alive) {
      return fmt::format("does not hold {} for alive", name);
    }
    if (cut_between(i, node)) continue;
    if (peer == nullptr || peer->link == nullptr) return fmt::format("has no link to {}", name);
    if (!peer->replicator->in_step() || peer->replicator->pending_ms() > 0) {
      return fmt::format("has something unacknowledged for {}", name);
    }
  }
  if (!mesh.peers().unheard().empty()) return "has not heard from somebody";
  // Dials go on where a link stays cut, and each attempt may leave an end open for a while.
  const std::size_t half_open = cut_ ? 8 : 0;
  if (mesh.acceptor().connections() < others ||
      mesh.acceptor().connections() > others + half_open) {
    return fmt::format("serves {} connections of {} others", mesh.acceptor().connections(), others);
  }
  return "";
}

// Made once more by somebody who has seen nothing but the state.
std::string Checkers::rings_differ(std::size_t node) const {
  const node::MeshNode& mesh = *cluster_.node(node).mesh;
  node::MeshConfig plain = scenario_.config;
  const node::MeshConfig* highest = nullptr;
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    const node::MeshConfig& config = cluster_.node(i).config;
    if (!cluster_.node(i).up()) continue;
    if (highest == nullptr || config.ring_generation > highest->ring_generation) highest = &config;
  }
  if (mesh.view()->parameters.generation < highest->ring_generation) {
    return fmt::format("routes by ring generation {}, and {} is configured",
                       mesh.view()->parameters.generation, highest->ring_generation);
  }
  node::FleetViewBuilder fresh(*highest);
  fresh.read_registry(mesh.registry());
  if (fresh.build(mesh.state(), 0)->ring_digest == mesh.view()->ring_digest) return "";
  return "has other rings than its state makes";
}

std::string Checkers::loads_differ(std::size_t node) const {
  for (const auto& instance : cluster_.node(node).mesh->view()->instances) {
    const policies::Load truth = workload_.truth(node, instance.name);
    const bool told = instance.others_waiting.size() == truth.queued_requests;  // all of them are
    if (instance.others == truth && told) continue;
    return fmt::format(
        "counts {} queued, {} told and {} decoding of others for {}, in truth {} "
        "and {}",
        instance.others.queued_requests, instance.others_waiting.size(),
        instance.others.decoding_requests, instance.name, truth.queued_requests,
        truth.decoding_requests);
  }
  return "";
}

std::string Checkers::leftovers() const {
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.node(i).up()) continue;
    const node::MeshNode& mesh = *cluster_.node(i).mesh;
    for (const auto& instance : mesh.view()->instances) {
      if (!(instance.others == policies::Load{})) {
        return fmt::format("n{} counts load of {} that is finished", i, instance.name);
      }
    }
    std::size_t rows = 0;
    mesh.state().own_load().for_each([&](std::uint64_t id, const net::LoadGauges&) {
      rows += id == node::kBeaconInstance ? 0 : 1;
    });
    if (rows != 0) return fmt::format("n{} keeps {} rows of load that is finished", i, rows);
    if (mesh.state().counters().digest_mismatches != 0) {
      return fmt::format("n{} has seen one version with two contents", i);
    }
    const std::string chosen = chosen_of(*mesh.view(), removed_at(i));
    if (!chosen.empty()) return fmt::format("n{} can choose {}, removed", i, chosen);
  }
  return "";
}

}  // namespace dualmesh::sim
