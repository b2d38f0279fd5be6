#include "node/mesh/fleet_view_builder.h"

#include <algorithm>

#include "net/destination.h"
#include "node/mesh/load_gauges.h"
#include "node/mesh/planted.h"

namespace dualmesh::node {

using policies::InstanceView;
using policies::Lifecycle;
using policies::Slot;

namespace {

// What is told beyond these is an error of the teller: it must not hold up the others, nor may sums
// over all nodes wrap, or times made of them.
constexpr std::chrono::minutes kLongestPrefill{1};
constexpr std::uint32_t kMostRequests = 1'000'000;
constexpr std::uint64_t kMostTokens = 4'000'000'000;
// Whose row has not changed for so long sends nothing, and would have those behind it wait, or its
// late ones go first, for as long as it stands. Its own node knows of them without our help.
constexpr std::chrono::minutes kLongestSilence{2};

policies::Load within_reason(policies::Load load) {
  for (auto requests : {&policies::Load::queued_requests, &policies::Load::prefilling_requests,
                        &policies::Load::decoding_requests}) {
    load.*requests = std::min(load.*requests, kMostRequests);
  }
  for (auto tokens : {&policies::Load::queued_tokens, &policies::Load::prefilling_tokens,
                      &policies::Load::decoding_tokens}) {
    load.*tokens = std::min(load.*tokens, kMostTokens);
  }
  return load;
}

// What one other node says of an instance, heard at `told_at`.
void add_other(const net::LoadGauges& gauges, policies::Time now, policies::Time told_at,
               policies::Time busy_until, InstanceView& instance) {
  instance.others += within_reason(to_load(gauges));
  if (gauges.queued_requests > 0) ++instance.others_queueing;
  if (gauges.prefilling_requests > 0) {
    instance.others_busy_until = std::max(instance.others_busy_until, busy_until);
  }
  if (now - told_at > kLongestSilence) return;
  for (const net::WaitingRow& one : gauges.waiting) {
    const policies::Time due = told_at + std::chrono::milliseconds(one.slack_ms);
    instance.others_waiting.push_back({due, one.tokens});
  }
}

// Where its clients' listener can be dialled; empty when nobody can tell. One that listens on every
// address is dialled where its peers dial it.
std::string client_address(const crdt::Member& member) {
  net::HostPort http, mesh;
  if (!net::split_destination(member.http_address, http)) return {};
  if (!net::is_everywhere(http.host)) return member.http_address;
  if (!net::split_destination(member.mesh_address, mesh)) return {};
  if (net::is_everywhere(mesh.host)) return {};
  return net::join_destination({mesh.host, http.port});
}

bool same_members(const std::vector<policies::RingMember>& a,
                  const std::vector<policies::RingMember>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.id == y.id && x.slot == y.slot && x.weight == y.weight;
  });
}

}  // namespace

Slot FleetViewBuilder::slot_of(policies::InstanceId id) const {
  auto slot = slots_.find(id);
  return slot == slots_.end() ? policies::kNoSlot : slot->second;
}

std::vector<policies::InstanceId> FleetViewBuilder::read_registry(const Registry& registry) {
  std::vector<policies::InstanceId> first_seen;
  ++roster_;
  auto records = registry.records();
  // What the registry has forgotten keeps its slot, and nothing else.
  for (InstanceView& view : instances_) view.lifecycle = Lifecycle::removed;
  for (InstanceRecord& record : records) {
    const policies::InstanceId id = policies::instance_id_of(record.name);
    auto [entry, added] = slots_.try_emplace(id, static_cast<Slot>(instances_.size()));
    if (added) {
      if (instances_.size() >= policies::kNoSlot) {
        slots_.erase(entry);
        continue;  // max_instances is far below; slots of removed names are not given again
      }
      instances_.emplace_back();
      first_seen.push_back(id);
    }
    InstanceView& view = instances_[entry->second];
    view.id = id;
    view.slot = entry->second;
    view.name = std::move(record.name);
    view.address = std::move(record.address);
    view.weight = record.weight;
    view.lifecycle = record.lifecycle;
    view.models = std::move(record.models);
    view.kv_events = std::move(record.kv_events);
  }
  rebuild_models();
  return first_seen;
}

void FleetViewBuilder::rebuild_models() {
  std::map<std::string, RingMembers> fresh;
  std::vector<const InstanceView*> by_name;
  for (const InstanceView& instance : instances_) by_name.push_back(&instance);
  std::sort(by_name.begin(), by_name.end(),
            [](const auto* a, const auto* b) { return a->name < b->name; });
  for (const InstanceView* instance : by_name) {
    const bool keep = planted(Plant::removed_goes_on);
    if (instance->lifecycle == Lifecycle::removed && !keep) continue;
    for (const std::string& model : instance->models) {
      RingMembers& ring = fresh[model];
      ring.view.serving.push_back(instance->slot);
      if (instance->lifecycle != Lifecycle::active) continue;
      ring.view.active.push_back(instance->slot);
      ring.members.push_back({instance->id, instance->slot, instance->weight});
    }
  }

  crdt::EntryHasher all;
  // Prompts are hashed by them as well, which no ring shows.
  if (parameters_.generation > 1) all.add(std::span<const char>(to_text(parameters_)));
  for (auto& [model, ring] : fresh) {
    ring.view.name = model;
    auto before = models_.find(model);
    if (before != models_.end() && same_members(before->second.members, ring.members)) {
      ring.view.ring_a = std::move(before->second.view.ring_a);
      ring.view.ring_b = std::move(before->second.view.ring_b);
    } else {
      ring.view.ring_a =
          policies::Ring(ring.members, parameters_.ring.seed_a, parameters_.ring.points_per_weight);
      ring.view.ring_b =
          policies::Ring(ring.members, parameters_.ring.seed_b, parameters_.ring.points_per_weight);
    }
    crdt::EntryHasher one;
    one.add(std::span<const char>(model));
    one.add(ring.view.ring_a.digest()).add(ring.view.ring_b.digest());
    ring.view.ring_digest = one.finish();
    all.add(ring.view.ring_digest);
  }
  models_ = std::move(fresh);
  ring_digest_ = models_.empty() ? 0 : all.finish();
}

std::shared_ptr<const policies::FleetView> FleetViewBuilder::build(const SharedState& state,
                                                                   std::uint64_t depth_bucket,
                                                                   policies::Time now,
                                                                   const Nodes& unheard) {
  if (const auto known = parameters_in_use(state.settings(), config_); known != parameters_) {
    parameters_ = known;
    if (!planted(Plant::rings_kept)) models_.clear();
    rebuild_models();
  }
  auto view = std::make_shared<policies::FleetView>();
  view->generation = ++generation_;
  view->roster = roster_;
  view->instances = instances_;
  for (const auto& [name, ring] : models_)
    view->models.emplace_hint(view->models.end(), name, ring.view);
  view->settings = config_.routing;
  read_settings(state, view->settings);
  view->parameters = parameters_;
  view->chain = chain_of(parameters_);
  view->ring_digest = ring_digest_;
  add_others(state, now, unheard, *view);
  read_agreement(state, unheard, *view);
  if (view->live_nodes > 1) view->depth = read_depth(state, depth_bucket);
  return view;
}

void FleetViewBuilder::read_settings(const SharedState& state,
                                     policies::RoutingSettings& settings) {
  const auto chosen = [&](const char* name) -> const std::string* {
    const auto* held = state.settings().find({name});
    return held == nullptr ? nullptr : held->chosen();
  };
  if (const std::string* policy = chosen(kPolicySetting)) settings.policy = *policy;
  const std::string* weights = chosen(kWeightsSetting);
  // What cannot be read, of a newer node perhaps, leaves the weights as they were.
  if (weights && weights_text_ != *weights && set_weights_.read_text(*weights).empty()) {
    weights_text_ = *weights;
    weights_ = configured_weights_.overlaid(set_weights_);
  }
  settings.client_weights = weights_;
}

void FleetViewBuilder::hear(Told& told, crdt::Version version, const net::LoadGauges& gauges,
                            policies::Time now) {
  const std::chrono::milliseconds left(gauges.prefill_left_ms);
  const bool overdue = left.count() == 0 && gauges.prefilling_requests > 0 &&
                       gauges.prefilling_requests == told.prefilling_requests &&
                       gauges.prefilling_tokens == told.prefilling_tokens;
  const policies::Time until = now + std::min<policies::Duration>(left, kLongestPrefill);
  told = {version, now, overdue ? std::min(told.busy_until, until) : until,
          gauges.prefilling_requests, gauges.prefilling_tokens};
}

void FleetViewBuilder::add_others(const SharedState& state, policies::Time now,
                                  const Nodes& unheard, policies::FleetView& view) {
  if (planted(Plant::own_load_counted)) {
    state.own_load().for_each([&](std::uint64_t id, const net::LoadGauges& gauges) {
      if (slot_of(id) != policies::kNoSlot) view.instances[slot_of(id)].others += to_load(gauges);
    });
  }
  // Columns exist for reachable nodes only, and our own load is not among them.
  std::erase_if(told_, [&](const auto& of) { return state.loads().find(of.first) == nullptr; });
  for (const auto& [node, column] : state.loads().all()) {
    if (unheard.contains(node)) continue;
    Heard& heard = told_[node];
    if (heard.epoch != column.epoch) heard = {column.epoch, {}};
    heard.rows.resize(instances_.size());
    column.feed.for_each_version(
        [&](std::uint64_t id, crdt::Version version, const net::LoadGauges& gauges) {
          const Slot slot = slot_of(id);
          if (slot == policies::kNoSlot) return;
          Told& told = heard.rows[slot];
          if (told.version != version) hear(told, version, gauges, now);
          add_other(gauges, now, told.at, told.busy_until, view.instances[slot]);
        });
  }
  for (InstanceView& instance : view.instances) {
    std::sort(instance.others_waiting.begin(), instance.others_waiting.end(),
              [](const auto& a, const auto& b) { return a.due < b.due; });
  }
}

void FleetViewBuilder::read_agreement(const SharedState& state, const Nodes& unheard,
                                      policies::FleetView& view) {
  view.live_nodes = 1;
  std::vector<PeerSource> ready;
  state.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (node == state.self().node || !member.reachable()) return;
    ++view.live_nodes;
    const auto* column = state.statuses().find(node);
    if (column == nullptr) return;  // it has not spoken yet, so it routes nothing yet
    const auto number = [&](StatusKey key) {
      const auto* held = column->feed.find(static_cast<std::uint8_t>(key));
      return held == nullptr ? 0 : held->value;
    };
    if (number(StatusKey::ready) == 0) return;
    if (number(StatusKey::ring_digest) != view.ring_digest) view.rings_agree = false;
    const auto* health = state.healths().find(node);
    if (health == nullptr || unheard.contains(node)) return;
    ready.push_back({node, health->epoch, health->feed.version()});
  });
  view.peers = read_peers(state, std::move(ready));
}

std::shared_ptr<const policies::Peers> FleetViewBuilder::read_peers(
    const SharedState& state, std::vector<PeerSource> sources) {
  if (sources == peer_sources_ && peer_slots_ == instances_.size()) return peers_;
  auto peers = std::make_shared<policies::Peers>();
  for (const PeerSource& source : sources) {
    const crdt::Member& member = *state.members().find(source.node);
    policies::PeerView peer{member.name, client_address(member), {}};
    if (peer.http_address.empty()) continue;
    state.healths()
        .find(source.node)
        ->feed.for_each([&](std::uint64_t id, const net::ProbedHealth& health) {
          const Slot slot = slot_of(id);
          if (health.healthy && slot != policies::kNoSlot) peer.reaches.push_back(slot);
        });
    std::sort(peer.reaches.begin(), peer.reaches.end());
    peers->push_back(std::move(peer));
  }
  std::sort(peers->begin(), peers->end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  peer_sources_ = std::move(sources);
  peer_slots_ = instances_.size();
  peers_ = std::move(peers);
  return peers_;
}

std::shared_ptr<const policies::DepthMarks> FleetViewBuilder::read_depth(const SharedState& state,
                                                                         std::uint64_t bucket) {
  if (depth_ && depth_source_ == state.depth().digest() && depth_bucket_ == bucket) return depth_;
  auto marks = std::make_shared<policies::DepthMarks>();
  state.depth().for_each([&](const net::DepthKey& key, const crdt::Max<std::uint32_t>& deeper) {
    if (kDepthWindow.age_of(key.bucket, bucket) == crdt::BucketAge::expired) return;
    std::uint32_t& held = marks->deeper[key.prefix];
    held = std::max(held, deeper.value);
  });
  crdt::StateDigest digest;
  for (const auto& [prefix, deeper] : marks->deeper) {
    crdt::EntryHasher hasher;
    digest.add(hasher.add(prefix).add(deeper).finish());
  }
  marks->digest = digest.sum + digest.count;
  depth_source_ = state.depth().digest();
  depth_bucket_ = bucket;
  depth_ = std::move(marks);
  return depth_;
}

}  // namespace dualmesh::node
