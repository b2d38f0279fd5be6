#include "node/mesh/mesh_node.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "net/mesh_codec.h"
#include "node/mesh/peer_service.h"
#include "node/mesh/planted.h"
#include "node/mesh/repeat.h"
#include "policies/policy_registry.h"

namespace dualmesh::node {
namespace {

constexpr auto kViewInterval = std::chrono::milliseconds(5);
constexpr auto kAloneInterval = std::chrono::milliseconds(100);  // between changes nobody waits for

net::AcceptorLimits acceptor_limits(const MeshConfig& config) {
  net::AcceptorLimits limits;
  limits.greeting_ms = config.hello_timeout_ms;
  limits.rates = {config.max_messages_per_s, config.max_bytes_per_s};
  return limits;
}

crdt::Member describe_self(const MeshConfig& config, crdt::Epoch epoch) {
  crdt::Member member;
  member.epoch = epoch;
  member.name = config.node_name;
  member.mesh_address = config.advertise;
  member.http_address = config.http_advertise;
  member.build = config.build;
  return member;
}

crdt::Epoch first_epoch(std::uint64_t wall_ms) {
  return crdt::Epoch{planted(Plant::coarse_epoch) ? wall_ms >> 16 << 16 : wall_ms};
}

}  // namespace

MeshNode::MeshNode(MeshConfig config, MeshEnvironment environment, MeshHost& host, AdminHost& admin)
    : config_(std::move(config)),
      host_(host),
      admin_(admin),
      refusals_(config_.node_name, environment.timer),
      context_{config_,
               environment.timer,
               environment.dialer,
               environment.wall_ms,
               environment.monotonic_ns,
               std::mt19937_64(environment.seed),
               refusals_},
      state_({crdt::node_id_of(config_.node_name), first_epoch(environment.wall_ms())}, config_,
             *this),
      registry_(state_),
      peers_(context_, state_, *this),
      courier_(context_, peers_, state_.self().node, environment.kv),
      collector_(context_, state_, peers_,
                 [this](crdt::NodeId node) { return status_since(node); }),
      builder_(config_),
      view_pacer_(std::chrono::milliseconds(1), kViewInterval),
      local_pacer_(std::chrono::milliseconds(2),
                   std::chrono::milliseconds(config_.flush_interval_ms)),
      tasks_(*this),
      acceptor_(
          [this](std::shared_ptr<net::IncomingPeer> caller) {
            return make_bootstrap_service(*this, std::move(caller));
          },
          acceptor_limits(config_), refusals_, environment.timer) {
  DUALMESH_CHECK(!config_.advertise.empty(), "node={}", config_.node_name);
  state_.join_member(state_.self().node, describe_self(config_, state_.self().epoch));
}

MeshNode::~MeshNode() noexcept {}

void MeshNode::restore(const net::RegistryTable::Delta& registry,
                       const net::SettingsTable::Delta& settings) {
  const crdt::Origin disk{crdt::NodeId{0}, crdt::Epoch{1}};
  // One's own disk is trusted: the clock may have gone back since, the commands were given.
  std::uint64_t wall_ms = context_.wall_ms();
  for (const auto& row : registry.entries) {
    wall_ms = std::max(wall_ms, row.value.stamp.wall_ms());
  }
  for (const auto& row : settings.entries) {
    for (const auto& [writer, time] : row.value.seen()) {
      wall_ms = std::max(wall_ms, crdt::Stamp{time, writer}.wall_ms());
    }
  }
  const auto whole = [](auto delta) {
    delta.from_excluded = {};
    delta.to = crdt::Version{1};
    return delta;
  };
  state_.restore_registry(registry.entries, wall_ms);
  state_.apply({disk, whole(settings)}, disk, wall_ms);
}

void MeshNode::start() {
  started_ = context_.now();
  registry_.configured(config_.instances);
  if (config_.ring_generation > 1) {
    const auto row = with_own_parameters(state_.settings(), config_);
    if (row) state_.join_setting({kRingSetting}, *row);
  }
  running_ = true;
  peers_.start();
  courier_.start();
  publish_view();
  judge_ready();
  tasks_.add(repeat(context_.timer, config_.node_name + ": housekeeping", [this]() {
    return context_.after(std::chrono::milliseconds(500)).then([this]() { housekeep(); });
  }));
}

void MeshNode::accept(kj::Own<kj::AsyncIoStream> stream, std::string from,
                      std::shared_ptr<const net::MeshCertificate> certificate) {
  acceptor_.accept(kj::mv(stream), std::move(from), std::move(certificate));
}

void MeshNode::peers_found(std::vector<std::string> addresses) {
  peers_.found(std::move(addresses));
}

void MeshNode::instances_found(const std::vector<SeedInstance>& instances) {
  registry_.discovered(instances);
}

void MeshNode::models_found(const std::string& instance, const std::vector<std::string>& models) {
  registry_.models_found(instance, models, context_.wall_ms());
}

net::Result<void> MeshNode::change(const SeedInstance& instance) {
  return registry_.add(instance, context_.wall_ms());
}

net::Result<void> MeshNode::change(const std::string& instance, policies::Lifecycle lifecycle) {
  return registry_.set_lifecycle(instance, lifecycle, context_.wall_ms());
}

net::Result<void> MeshNode::set_policy(const std::string& policy) {
  if (const std::string problem = policies::check_policy(policy); !problem.empty()) {
    return net::Error{problem};
  }
  return set(kPolicySetting, policy);
}

policies::ClientWeights MeshNode::client_weights_set() const {
  policies::ClientWeights weights;
  const auto* held = state_.settings().find({kWeightsSetting});
  const std::string* text = held == nullptr ? nullptr : held->chosen();
  if (text != nullptr) weights.read_text(*text);  // of a newer node perhaps: none
  return weights;
}

net::Result<void> MeshNode::change_client_weights(const WeightChange& change) {
  policies::ClientWeights added;
  if (const std::string problem = added.read_text(change.weights); !problem.empty()) {
    return net::Error{problem};
  }
  policies::ClientWeights weights;
  if (!change.clear_all) weights = client_weights_set().without(change.cleared);
  weights = weights.overlaid(added);
  if (weights.size() > policies::ClientWeights::kMaxClients) {
    return net::Error{fmt::format("{} clients would have weights; allowed are {}", weights.size(),
                                  policies::ClientWeights::kMaxClients)};
  }
  return set(kWeightsSetting, weights.text());
}

net::Result<void> MeshNode::set(const char* setting, const std::string& text) {
  if (text.size() > net::CodecLimits::kTextBytes) {
    return net::Error{fmt::format("{} takes {} bytes; allowed are {}", setting, text.size(),
                                  net::CodecLimits::kTextBytes)};
  }
  const net::SettingKey key{setting};
  crdt::MultiValue<std::string> value;
  if (const auto* held = state_.settings().find(key)) value = *held;
  value.assign(state_.stamp(context_.wall_ms()), text);
  state_.join_setting(key, value);
  return {};
}

std::uint64_t MeshNode::set_beacon(std::uint64_t value) {
  const std::uint64_t at_ns = context_.monotonic_ns();
  net::LoadGauges row;
  row.queued_tokens = value;
  state_.set_load(kBeaconInstance, row);
  return at_ns;
}

// --- what changed, and what follows from it ---

void MeshNode::member_grew(crdt::NodeId node, const crdt::Member& member) {
  const auto [known, added] =
      status_since_.try_emplace(node, StatusSince{member.status, context_.now()});
  if (!added && known->second.status != member.status) {
    known->second = {member.status, context_.now()};
  }
  if (node == state_.self().node) {
    refute(member);
  } else {
    peers_.member_changed(node, member);
    partition_.learned(node, member, context_.now());
    note_living();
    view_stale();
  }
  replicate(Urgency::at_once);
}

void MeshNode::refute(const crdt::Member& accused) {
  if (accused.epoch > state_.self().epoch) return epoch_known(accused.epoch);
  if (accused.status == crdt::MemberStatus::alive || leaving_) return;
  if (planted(Plant::skip_refutation) && accused.status == crdt::MemberStatus::dead) return;
  spdlog::warn("mesh: {}: others took this node for {}; refuting", config_.node_name,
               accused.status == crdt::MemberStatus::suspect ? "silent" : "dead");
  ++refutations_;
  peers_.refuted();
  // Nothing of this life outranks it.
  if (accused.refutations == ~std::uint64_t{0}) return epoch_known(accused.epoch);
  crdt::Member alive = describe_self(config_, state_.self().epoch);
  alive.refutations = accused.refutations + 1;
  state_.join_member(state_.self().node, alive);
  // Whoever believed it has dropped our feeds: find out, or they would wait for our next change.
  if (accused.status == crdt::MemberStatus::dead) peers_.ask_all_positions();
}

void MeshNode::epoch_known(crdt::Epoch epoch) {
  if (epoch < state_.self().epoch || planted(Plant::earlier_life_ignored)) return;
  if (++epoch_raises_ > kMaxEpochRaises) {
    if (epoch_raises_ == kMaxEpochRaises + 1) {
      spdlog::error("mesh: {}: another node keeps using this name; give it a name of its own",
                    config_.node_name);
    }
    return;
  }
  const std::uint64_t fresh = std::max(context_.wall_ms(), epoch.value + 1);
  spdlog::info("mesh: {}: an earlier life is known by epoch {}; continuing as {}",
               config_.node_name, epoch.value, fresh);
  state_.raise_epoch(crdt::Epoch{fresh});
  peers_.drop_links("starting again under a higher epoch");
}

void MeshNode::field_grew(const net::FieldKey& key) {
  if (const std::string lost = registry_.lost_seed(key); !lost.empty()) {
    spdlog::error("mesh: {}: {}", config_.node_name, lost);
  }
  registry_stale_ = true;
  if (saveable_) saveable_();
  view_stale();
  replicate(Urgency::at_once);
}

void MeshNode::setting_grew(const net::SettingKey&) {
  if (saveable_) saveable_();
  view_stale();
  replicate(Urgency::at_once);
}

void MeshNode::depth_grew() {
  view_stale();
  replicate(Urgency::paced);
}

void MeshNode::load_grew(crdt::NodeId writer, const net::LoadFeed::Delta& delta) {
  for (const auto& row : delta.entries) {
    if (row.key == kBeaconInstance && row.value) {
      beacons_pending_[writer] = row.value->queued_tokens;
    }
  }
  view_stale();
}

void MeshNode::health_grew(crdt::NodeId) { view_stale(); }

void MeshNode::status_grew(crdt::NodeId) { view_stale(); }

void MeshNode::own_feed_grew(Urgency urgency) { replicate(urgency); }

void MeshNode::peers_changed() {
  courier_.links_changed();
  judge_ready();
}

void MeshNode::unheard_changed() { view_stale(); }

// Once per turn of the event loop, so that a batch of changes makes one push.
void MeshNode::replicate(Urgency urgency) {
  urgency_ = std::max(urgency_, urgency);
  if (replicate_waiting_ || !running_) return;
  replicate_waiting_ = true;
  tasks_.add(kj::evalLater([this]() {
    replicate_waiting_ = false;
    peers_.state_changed(std::exchange(urgency_, Urgency::slight));
  }));
}

policies::Time MeshNode::next_taking() const {
  return peers_.linked() > 0 ? local_pacer_.next() : local_pacer_.last() + kAloneInterval;
}

void MeshNode::local_changes() {
  if (local_waiting_) return;
  const policies::Time due = next_taking();
  if (due <= context_.now()) return take_local_changes();
  take_local_changes_at(due);
}

void MeshNode::take_local_changes_at(policies::Time due) {
  local_waiting_ = true;
  tasks_.add(context_.after(due - context_.now()).then([this]() {
    local_waiting_ = false;
    take_local_changes();
  }));
}

void MeshNode::set_configured_weights(policies::ClientWeights weights) {
  builder_.set_configured_weights(std::move(weights));
  publish_view();
}

void MeshNode::set_draining() {
  draining_ = true;
  judge_ready();
}

void MeshNode::leave(std::uint32_t timeout_ms, std::function<void()> done) {
  leaving_ = draining_ = true;
  crdt::Member member = state_.self_member();
  member.status = crdt::MemberStatus::left;
  state_.join_member(state_.self().node, member);
  judge_ready();
  struct Wait {
    MeshNode& node;
    crdt::Version farewell;  // of our membership table; our feeds nobody wants any more
    policies::Time deadline;
    kj::Promise<void> run() {
      return node.context_.after(std::chrono::milliseconds(5)).then([this]() -> kj::Promise<void> {
        bool told = true;
        for (const auto& [id, peer] : node.peers_.all()) {
          told = told && (peer->link == nullptr ||
                          peer->replicator->acknowledged().versions[0] >= farewell);
        }
        if (told || node.context_.now() >= deadline) return kj::READY_NOW;
        return run();
      });
    }
  };
  auto wait = kj::heap<Wait>(Wait{*this, state_.members().version(),
                                  context_.now() + std::chrono::milliseconds(timeout_ms)});
  auto waited = wait->run();
  tasks_.add(waited.attach(kj::mv(wait)).then([done = std::move(done)]() { done(); }));
}

void MeshNode::taskFailed(kj::Exception&& exception) {
  spdlog::error("mesh: {}: {}", config_.node_name, exception.getDescription().cStr());
}

std::string MeshNode::name_of(crdt::NodeId id) const {
  const crdt::Member* member = state_.members().find(id);
  return member == nullptr ? fmt::format("{:016x}", id.value) : member->name;
}

}  // namespace dualmesh::node
