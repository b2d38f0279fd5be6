#include "node/mesh/mesh_peers.h"

#include <spdlog/spdlog.h>

#include "net/mesh_codec.h"
#include "net/mesh_tls_stream.h"
#include "node/mesh/repeat.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kMaxRefusals = 64;

}  // namespace

MeshPeers::MeshPeers(MeshContext& context, SharedState& state, PeersObserver& observer)
    : context_(context),
      state_(state),
      observer_(observer),
      detector_(context.config),
      relays_(std::chrono::milliseconds(4 * context.config.ping_interval_ms)),
      asked_(context.random()),
      tasks_(*this) {}

void MeshPeers::start() {
  for (const std::string& seed : context_.config.seeds) dial(seed);
  const std::string& name = context_.config.node_name;
  tasks_.add(repeat(context_.timer, name + ": pings", [this]() { return ping_all(); }));
  tasks_.add(repeat(context_.timer, name + ": positions", [this]() { return ask_somebody(); }));
}

void MeshPeers::found(std::vector<std::string> addresses) {
  if (addresses.empty()) return;
  found_ = {addresses.begin(), addresses.end()};
  std::erase_if(met_, [this](const std::string& address) { return !is_listed(address); });
  for (const std::string& address : found_) dial(address);
}

void MeshPeers::dial(const std::string& address) {
  if (address.empty() || address == state_.self_member().mesh_address) return;
  if (targets_.contains(address) || targets_.size() >= 2 * context_.config.max_members) return;
  const net::MeshLinkSettings settings{
      context_.config.redial_min_ms,
      context_.config.redial_max_ms,
      context_.config.call_timeout_ms,
      {context_.config.max_messages_per_s, context_.config.max_bytes_per_s}};
  targets_[address].link =
      std::make_unique<net::MeshLink>(address, context_.dialer, context_.timer, context_.random,
                                      settings, static_cast<net::MeshLinkOwner&>(*this));
}

void MeshPeers::member_changed(crdt::NodeId node, const crdt::Member& member) {
  if (node == state_.self().node) return;
  detector_.learned(node, member, context_.now());
  if (member.status != crdt::MemberStatus::left) dial(member.mesh_address);
  // Somebody else reaches it again, so perhaps do we.
  const auto target = targets_.find(member.mesh_address);
  if (member.status == crdt::MemberStatus::alive && target != targets_.end()) {
    target->second.link->redial_soon();
  }
}

bool MeshPeers::is_listed(const std::string& address) const {
  const auto& seeds = context_.config.seeds;
  return found_.contains(address) || std::find(seeds.begin(), seeds.end(), address) != seeds.end();
}

bool MeshPeers::met_most_seeds() const {
  std::set<std::string> others(context_.config.seeds.begin(), context_.config.seeds.end());
  others.insert(found_.begin(), found_.end());
  others.erase(context_.config.advertise);
  return 2 * (met_.size() + 1) > others.size() + 1;
}

bool MeshPeers::wanted(const std::string& address) const {
  if (is_listed(address)) return true;
  bool is_member = false;
  state_.members().for_each([&](crdt::NodeId, const crdt::Member& member) {
    is_member =
        is_member || (member.mesh_address == address && member.status != crdt::MemberStatus::left);
  });
  return is_member;
}

// Once a second: forgets addresses nobody has any more, and dials again what was closed because
// another link reached the same node, when that link is gone.
void MeshPeers::tend_targets() {
  for (auto target = targets_.begin(); target != targets_.end();) {
    const bool closed = target->second.link->closed();
    const MeshPeer* known = find(target->second.node);
    const bool covered = target->second.is_self || (known != nullptr && known->link != nullptr);
    const bool idle = closed ? !covered : !target->second.link->up();
    if (!idle || (wanted(target->first) && !closed)) {
      ++target;
      continue;
    }
    refusing_.erase(target->first);
    target = targets_.erase(target);
  }
  std::erase_if(peers_, [this](const auto& slot) {
    return slot.second->link == nullptr && state_.members().find(slot.first) == nullptr;
  });
  for (const std::string& seed : context_.config.seeds) dial(seed);
  for (const std::string& address : found_) dial(address);
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (node != state_.self().node && member.status != crdt::MemberStatus::left) {
      dial(member.mesh_address);
    }
  });
}

MeshPeer& MeshPeers::peer(crdt::NodeId node) {
  auto& slot = peers_[node];
  if (slot) return *slot;
  slot = std::make_unique<MeshPeer>();
  slot->node = node;
  slot->replicator = std::make_unique<Replicator>(
      context_, state_, node, [this, node] { heard(node); },
      [this, node](const std::string& reason) {
        if (auto* link = peer(node).link) link->drop("push failed: " + reason);
      });
  return *slot;
}

const MeshPeer* MeshPeers::find(crdt::NodeId node) const {
  auto slot = peers_.find(node);
  return slot == peers_.end() ? nullptr : slot->second.get();
}

bool MeshPeers::any_other() const {
  bool other = !refusing_.empty();
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    other = other || (node != state_.self().node && member.reachable());
  });
  return other;
}

bool MeshPeers::name_in_use() const {
  return linked() == 0 && std::any_of(refusing_.begin(), refusing_.end(),
                                      [](const auto& refusing) { return refusing.second; });
}

std::size_t MeshPeers::linked() const {
  return static_cast<std::size_t>(std::count_if(
      peers_.begin(), peers_.end(), [](const auto& slot) { return slot.second->link != nullptr; }));
}

void MeshPeers::state_changed(Urgency urgency) {
  for (auto& [node, peer] : peers_) peer->replicator->state_changed(urgency);
}

void MeshPeers::drop_links(const std::string& reason) {
  for (auto& [node, peer] : peers_) {
    peer->replicator->start_over();
    if (peer->link != nullptr) peer->link->drop(reason);
  }
}

Acknowledged MeshPeers::lowest_acknowledged() const {
  Acknowledged lowest;
  lowest.versions.fill(crdt::Version{~std::uint64_t{0}});
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (node == state_.self().node || !member.reachable()) return;
    const MeshPeer* known = find(node);
    for (std::size_t i = 0; i < lowest.versions.size(); ++i) {
      const crdt::Version at =
          known == nullptr ? crdt::Version{} : known->replicator->acknowledged().versions[i];
      lowest.versions[i] = std::min(lowest.versions[i], at);
    }
  });
  return lowest;
}

bool MeshPeers::all_refuse(net::StreamKind table) const {
  std::size_t linked = 0;
  for (const auto& [node, peer] : peers_) {
    if (peer->link == nullptr || !peer->link->up()) continue;
    if (!peer->replicator->holds(table)) return false;
    ++linked;
  }
  return linked > 0;
}

void MeshPeers::retry_refused() {
  for (const auto& [node, peer] : peers_) peer->replicator->retry_held();
}

void MeshPeers::write_hello(wire::Hello::Builder hello) {
  node::write_hello(state_, context_.config, context_.wall_ms(), hello);
  hello.setJoining(joining_);
}

net::LinkVerdict MeshPeers::welcomed(net::MeshLink& link, wire::Welcome::Reader welcome) {
  const std::string why = cut_text({welcome.getRefusal().begin(), welcome.getRefusal().size()});
  auto from = net::read_member(welcome.getFrom());
  if (!from) {
    context_.refusals.count(net::Refusal::unreadable);
    refusal(link.address(), from.error().message);
    return net::LinkVerdict::retry;
  }
  if (auto good = check_identity(from->value, from->key, link.identity()); !good) {
    context_.refusals.count(net::Refusal::identity);
    refusal(link.address(), good.error().message);
    return net::LinkVerdict::retry;
  }
  Target& target = targets_.at(link.address());
  target.node = from->key;
  target.answered = true;
  if (from->key == state_.self().node && from->value.epoch == state_.self().epoch) {
    target.is_self = true;
    return net::LinkVerdict::close;
  }
  const crdt::Epoch known_epoch{welcome.getKnownEpoch()};
  if (const std::string bad = absurd_epoch(welcome, from->value, context_.wall_ms());
      !bad.empty()) {
    context_.refusals.count(net::Refusal::epoch);
    refusal(link.address(), bad);
    return net::LinkVerdict::retry;
  }
  if (known_epoch > state_.self().epoch && from->key != state_.self().node) {
    observer_.epoch_known(known_epoch);
    return net::LinkVerdict::again;
  }
  if (!welcome.getAccepted()) {
    // Known under our name and yet refused: another life of it answers elsewhere. What that other
    // says itself counts for less.
    refusal(link.address(), why, known_epoch.value != 0 && from->key != state_.self().node);
    return net::LinkVerdict::retry;
  }
  if (welcome.getProtocolVersion() != kProtocolVersion) {
    refusal(link.address(), fmt::format("it answers with protocol version {}, this node speaks {}",
                                        welcome.getProtocolVersion(), kProtocolVersion));
    return net::LinkVerdict::retry;
  }
  if (is_listed(link.address())) met_.insert(link.address());
  MeshPeer& known = peer(from->key);
  if (known.link != nullptr && known.link != &link) return net::LinkVerdict::close;
  if (!state_.has_room_for(from->key, from->value)) {
    refusal(link.address(), fmt::format("{} members are known here, and that is the limit",
                                        context_.config.max_members));
    return net::LinkVerdict::retry;
  }
  note_clock(known, welcome.getWallMs(), context_.wall_ms());
  if (welcome.hasCaller()) accused(welcome.getCaller());
  state_.join_member(from->key, from->value);
  if (known.epoch != from->value.epoch) {
    known.epoch = from->value.epoch;
    known.replicator->start_over();
  }
  return net::LinkVerdict::keep;
}

// What a peer that did not hear us believes of us: refuted before the first push, which it would
// refuse otherwise.
void MeshPeers::accused(wire::Member::Reader caller) {
  auto believed = net::read_member(caller);
  if (!believed || believed->key != state_.self().node) return;
  crdt::Member self = state_.self_member();
  if (believed->value.epoch != self.epoch) return;
  self.status = believed->value.status;
  self.refutations = believed->value.refutations;
  state_.join_member(state_.self().node, self);
}

// One whom we took for dead is back: the network may be whole again for others too.
void MeshPeers::reached_again(crdt::NodeId node) {
  const crdt::Member* member = state_.members().find(node);
  if (member == nullptr || member->reachable()) return;
  for (auto& [address, target] : targets_) target.link->redial_soon();
}

void MeshPeers::link_up(net::MeshLink& link) {
  MeshPeer& known = peer(targets_.at(link.address()).node);
  if (known.link != nullptr) return link.drop("another link reaches the same node");
  reached_again(known.node);
  known.link = &link;
  ++known.links_up;
  known.has_target = known.synchronised = false;
  known.same_registry.reset();  // it may be another life, with an older disk
  refusing_.erase(link.address());
  const crdt::Member* member = state_.members().find(known.node);
  spdlog::info("mesh: {}: linked to {} at {}", context_.config.node_name,
               member == nullptr ? "a node" : member->name, link.address());
  heard(known.node);
  known.replicator->attach(link.peer());
  ask_positions(known);
  observer_.peers_changed();
}

void MeshPeers::link_down(net::MeshLink& link, bool was_up, const std::string& why) {
  const std::string reason = cut_text(why);  // perhaps in the peer's words
  if (const net::Violation violation = link.violation(); !violation.why.empty()) {
    context_.refusals.count(violation.reason, link.address(), violation.why);
  }
  if (!was_up) {
    ++counters_.dials_failed;
    spdlog::debug("mesh: {}: no link to {}: {}", context_.config.node_name, link.address(), reason);
    // Whoever refused us there is gone, or can no longer be asked.
    const bool answered = std::exchange(targets_.at(link.address()).answered, false);
    if (reason.find(net::kTlsFailure) != std::string::npos) {
      refusal(link.address(), reason);
    } else if (!answered && refusing_.erase(link.address()) > 0) {
      observer_.peers_changed();
    }
    return;
  }
  targets_.at(link.address()).answered = false;
  ++counters_.links_lost;
  spdlog::info("mesh: {}: lost the link to {}: {}", context_.config.node_name, link.address(),
               reason);
  for (auto& [node, known] : peers_) {
    if (known->link != &link) continue;
    known->link = nullptr;
    known->replicator->detach();
  }
  observer_.peers_changed();
}

void MeshPeers::refusal(const std::string& address, const std::string& why, bool name_in_use) {
  refusing_[address] = name_in_use;
  const std::string text = address + ": " + why;
  last_refusal_ = text;
  note_refusal(text);
  observer_.peers_changed();
}

HelloVerdict MeshPeers::greeted(wire::Hello::Reader hello, const net::IncomingPeer& caller) {
  HelloVerdict verdict = judge_hello(
      hello, state_, context_.config, context_.wall_ms(),
      [this](crdt::NodeId node) {
        return context_.now() - detector_.last_heard(node) < std::chrono::seconds(1);
      },
      caller.identity() ? &*caller.identity() : nullptr);
  if (verdict.is_self) return verdict;
  std::erase_if(kept_away_, [this](const auto& slot) { return slot.second <= context_.now(); });
  if (verdict.accepted && kept_away_.contains(verdict.node)) {
    verdict.accepted = false;
    verdict.reason = net::Refusal::unreadable;
    verdict.known_epoch = {};  // its name is not in question
    verdict.refusal = "what it sent could not be read; it may come back in some seconds";
  }
  if (!verdict.accepted) {
    context_.refusals.count(verdict.reason);
    note_refusal(fmt::format("we refused {} ({}): {}", cut_text(verdict.from.name),
                             cut_text(verdict.from.mesh_address), verdict.refusal));
    return verdict;
  }
  state_.join_member(verdict.node, verdict.from);
  MeshPeer& known = peer(verdict.node);
  if (known.link != nullptr && known.epoch != verdict.from.epoch) {
    known.link->drop("it has begun a new life");
  }
  note_clock(known, hello.getWallMs(), context_.wall_ms());
  known.replicator->peer_joins(hello.getJoining());
  heard(verdict.node);
  auto target = targets_.find(verdict.from.mesh_address);
  if (target == targets_.end()) {
    dial(verdict.from.mesh_address);
  } else {
    target->second.link->redial_soon();
  }
  reached_again(verdict.node);
  return verdict;
}

void MeshPeers::keep_away(crdt::NodeId node) {
  constexpr auto kFor = std::chrono::seconds(5);
  constexpr std::size_t kMost = 1'024;
  if (kept_away_.size() < kMost) kept_away_[node] = context_.now() + kFor;
}

// A peer can make no two of them alike, so their lines are paced; the counters miss nothing.
void MeshPeers::note_refusal(const std::string& text) {
  if (std::find(refusals_.begin(), refusals_.end(), text) != refusals_.end()) return;
  const std::int64_t now_ns =
      (context_.timer.now() - kj::origin<kj::TimePoint>()) / kj::NANOSECONDS;
  if (refusal_lines_.wait_ns(now_ns) == 0) {
    refusal_lines_.take(1, now_ns);
    const std::uint64_t unlogged = std::exchange(unlogged_refusals_, 0);
    spdlog::error("mesh: {}: {}{}", context_.config.node_name, text,
                  unlogged == 0 ? "" : fmt::format("; {} more before it", unlogged));
  } else {
    ++unlogged_refusals_;
  }
  refusals_.push_back(text);
  if (refusals_.size() > kMaxRefusals) refusals_.pop_front();
}

void MeshPeers::heard(crdt::NodeId node) { detector_.heard(node, context_.now()); }

void MeshPeers::taskFailed(kj::Exception&& exception) {
  spdlog::error("mesh: {}: {}", context_.config.node_name, exception.getDescription().cStr());
}

}  // namespace dualmesh::node
