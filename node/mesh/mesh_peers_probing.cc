// The watching half of MeshPeers: pings, accusations and digest exchanges.
#include <spdlog/spdlog.h>

#include <utility>

#include "net/mesh_codec.h"
#include "node/mesh/mesh_peers.h"
#include "node/mesh/planted.h"

namespace dualmesh::node {
namespace {

constexpr auto kRepairInterval = std::chrono::seconds(10);  // of one table at one peer

}  // namespace

kj::Promise<void> MeshPeers::ping_all() {
  return context_.after(std::chrono::milliseconds(context_.config.ping_interval_ms)).then([this]() {
    choose_relays();
    for (auto& [node, known] : peers_) ping(*known);
    detect();
  });
}

kj::Promise<void> MeshPeers::ask_somebody() {
  return context_.after(std::chrono::milliseconds(context_.config.positions_interval_ms))
      .then([this]() {
        std::vector<MeshPeer*> linked;
        for (auto& [node, known] : peers_) {
          if (known->link == nullptr) continue;
          if (!known->has_target) {
            ask_positions(*known);  // the answer to the first question was lost
          } else {
            linked.push_back(known.get());
          }
        }
        if (!linked.empty()) {
          // In turn, so that nobody's turn is left to luck.
          ask_positions(*linked[asked_++ % linked.size()]);
        }
        tend_targets();
      });
}

void MeshPeers::ping(MeshPeer& known) {
  if (known.link == nullptr) return;
  const crdt::NodeId node = known.node;
  const std::uint64_t sent_ns = context_.monotonic_ns();
  const std::uint64_t sent_wall_ms = context_.wall_ms();
  auto request = known.link->peer().pingRequest();
  request.initOrigin().setNode(state_.self().node.value);
  request.getOrigin().setEpoch(state_.self().epoch.value);
  request.setSentMs(sent_wall_ms);
  request.setJoining(joining_);
  const auto wanted = relays_.wanted_of(node);
  auto names = request.initWanted(static_cast<unsigned>(wanted.size()));
  for (unsigned i = 0; i < names.size(); ++i) {
    const crdt::Origin writer{wanted[i], state_.members().find(wanted[i])->epoch};
    net::write_feed_positions(state_.feed_positions(writer), names[i]);
  }
  const auto accusations = detector_.accusations(context_.now());
  auto accused = request.initAccused(static_cast<unsigned>(accusations.size()));
  for (unsigned i = 0; i < accused.size(); ++i) {
    accused[i].setNode(accusations[i].node.value);
    accused[i].setEpoch(accusations[i].epoch.value);
    accused[i].setRefutations(accusations[i].refutations);
  }
  tasks_.add(
      context_.timer
          .timeoutAfter(context_.config.ping_timeout_ms * kj::MILLISECONDS,
                        request.send().then([](auto&& response) { return kj::mv(response); }))
          .then(
              [this, node, sent_ns, sent_wall_ms](auto&& response) {
                if (response.getOrigin().getNode() != node.value) return;
                MeshPeer& known = peer(node);
                known.rtt_ms = static_cast<double>(context_.monotonic_ns() - sent_ns) / 1e6;
                note_clock(known, response.getWallMs(), (sent_wall_ms + context_.wall_ms()) / 2);
                heard(node);
                std::vector<crdt::NodeId> relaying;
                for (const std::uint64_t id : response.getRelaying()) {
                  relaying.push_back(crdt::NodeId{id});
                }
                relays_.relayed(node, relaying, context_.now());
                if (response.getTables() != 0) known.replicator->peer_tables(response.getTables());
                known.replicator->peer_holds(net::read_feed_positions(response.getHeld()));
              },
              [this](kj::Exception&&) { ++counters_.pings_failed; }));
}

void MeshPeers::detect() {
  const FailureDetector::Actions actions = detector_.tick(context_.now());
  for (const crdt::NodeId node : actions.probe) probe(node);
  for (const crdt::NodeId node : actions.dead) accuse(node, crdt::MemberStatus::dead);
}

void MeshPeers::choose_relays() {
  Relays::Nodes living;
  state_.members().for_each([&](crdt::NodeId node, const crdt::Member& member) {
    if (node != state_.self().node && member.reachable()) living.insert(node);
  });
  Relays::Nodes linked;
  for (const auto& [node, known] : peers_) {
    if (known->link != nullptr) linked.insert(node);
  }
  relays_.tick(living, linked, context_.now());
  auto unheard = relays_.unheard(context_.now());
  if (planted(Plant::unheard_for_ever)) unheard.insert(unheard_.begin(), unheard_.end());
  if (unheard == unheard_) return;
  unheard_ = std::move(unheard);
  observer_.unheard_changed();
}

void MeshPeers::accuse(crdt::NodeId node, crdt::MemberStatus status) {
  crdt::Member member = *state_.members().find(node);
  if (member.status >= status) return;
  member.status = status;
  ++(status == crdt::MemberStatus::suspect ? counters_.suspicions : counters_.deaths);
  spdlog::warn("mesh: {}: {} is {}", context_.config.node_name, member.name,
               status == crdt::MemberStatus::suspect ? "silent, suspected" : "declared dead");
  state_.join_member(node, member);
}

// Asks up to indirect_probes other nodes; the first that reaches it ends the suspicion.
void MeshPeers::probe(crdt::NodeId node) {
  std::vector<MeshPeer*> helpers;
  for (auto& [id, known] : peers_) {
    if (id != node && known->link != nullptr) helpers.push_back(known.get());
  }
  std::shuffle(helpers.begin(), helpers.end(), context_.random);
  if (helpers.size() > context_.config.indirect_probes) {
    helpers.resize(context_.config.indirect_probes);
  }
  struct Round {
    std::size_t open;
    bool reached = false;
  };
  auto round = std::make_shared<Round>(Round{helpers.size()});
  auto conclude = [this, node](bool reached) {
    if (detector_.probe_answered(node, reached, context_.now())) {
      accuse(node, crdt::MemberStatus::suspect);
    }
  };
  std::vector<crdt::NodeId> asked;
  for (const MeshPeer* helper : helpers) asked.push_back(helper->node);
  detector_.probe_began(node, std::move(asked), context_.now());
  if (helpers.empty()) return conclude(false);
  const auto patience =
      (context_.config.ping_timeout_ms + 50) * detector_.health().multiplier() * kj::MILLISECONDS;
  for (MeshPeer* helper : helpers) {
    auto request = helper->link->peer().pingForRequest();
    request.setTarget(node.value);
    tasks_.add(
        context_.timer
            .timeoutAfter(patience, request.send().then([this, id = helper->node](auto&& response) {
              heard(id);
              return response.getReached();
            }))
            .catch_([](kj::Exception&&) { return false; })
            .then([round, conclude](bool reached) {
              --round->open;
              if (round->reached) return;
              round->reached = reached;
              if (reached || round->open == 0) conclude(reached);
            }));
  }
}

kj::Promise<bool> MeshPeers::reach(crdt::NodeId node) {
  MeshPeer* known = peers_.contains(node) ? peers_.at(node).get() : nullptr;
  if (known == nullptr || known->link == nullptr) return false;
  auto request = known->link->peer().pingRequest();
  request.initOrigin().setNode(state_.self().node.value);
  request.getOrigin().setEpoch(state_.self().epoch.value);
  return context_.timer
      .timeoutAfter(context_.config.ping_timeout_ms * kj::MILLISECONDS,
                    request.send().then([](auto&&) { return true; }))
      .catch_([](kj::Exception&&) { return false; });
}

void MeshPeers::accused(crdt::NodeId accuser, std::vector<Accusation> accusations) {
  detector_.accused(accuser, std::move(accusations));
}

void MeshPeers::ask_positions(MeshPeer& known) {
  const crdt::NodeId node = known.node;
  net::MeshLink* link = known.link;
  tasks_.add(context_.timer
                 .timeoutAfter(context_.config.call_timeout_ms * kj::MILLISECONDS,
                               link->peer().positionsRequest().send().then(
                                   [](auto&& response) { return kj::mv(response); }))
                 .then(
                     [this, node, link](auto&& response) {
                       auto positions = net::read_positions(response.getPositions());
                       if (positions) return positions_told(peer(node), *positions);
                       if (peer(node).link != link) return;
                       context_.refusals.count(net::Refusal::unreadable, link->address(),
                                               positions.error().message);
                       link->drop(positions.error().message);
                     },
                     [this, node, link](kj::Exception&& exception) {
                       // The same link still: it is not answering, so it is of no use.
                       if (peer(node).link == link) link->drop(exception.getDescription().cStr());
                     }));
}

void MeshPeers::positions_told(MeshPeer& known, const std::vector<net::StreamPosition>& positions) {
  heard(known.node);
  const crdt::Origin origin{known.node, known.epoch};
  if (!known.has_target) known.join_target.clear();
  std::array<bool, net::kStreamKinds> holds{};
  for (const net::StreamPosition& at : positions) {
    if (at.origin == state_.self()) {
      known.replicator->peer_is_at(at);
      holds[static_cast<std::size_t>(at.kind)] = true;
    }
    if (at.origin.node == known.node && at.origin.epoch > known.epoch && known.link != nullptr) {
      return known.link->drop("it has begun a new life");  // its hello overtook its welcome
    }
    if (at.origin != origin) continue;
    if (!known.has_target) known.join_target.push_back(at);
    const std::uint64_t mismatches = state_.counters().digest_mismatches;
    state_.check_digest(at);
    if (state_.counters().digest_mismatches > mismatches) return contradicted(known, at);
    check_table(known, at);
  }
  // A peer without a column of ours has dropped it, or never had it.
  for (std::size_t kind = 0; kind < holds.size(); ++kind) {
    const auto stream = static_cast<net::StreamKind>(kind);
    if (holds[kind] || net::is_table(stream)) continue;
    known.replicator->peer_is_at({stream, state_.self(), {}, {}});
  }
  known.has_target = true;
  check_synchronised(known);
}

// What we held of it is dropped already; a new link begins with what it says now.
void MeshPeers::contradicted(MeshPeer& known, const net::StreamPosition& at) {
  const std::string why = fmt::format("other contents for version {} of its {}", at.version.value,
                                      net::to_string(at.kind));
  const std::string who = known.link == nullptr ? "a peer" : known.link->address();
  context_.refusals.count(net::Refusal::contradiction, who, why);
  if (known.link != nullptr) known.link->drop(why);
}

// Tables have no versions that two nodes could compare, only digests. Once may be a change under
// way; twice is a row that was lost. Depth marks end by themselves and need no repair.
void MeshPeers::check_table(MeshPeer& known, const net::StreamPosition& theirs) {
  if (theirs.kind == net::StreamKind::registry && theirs.digest == state_.registry().digest()) {
    known.same_registry = state_.registry().version();
  }
  if (!net::is_table(theirs.kind) || theirs.kind == net::StreamKind::depth) return;
  const auto kind = static_cast<std::size_t>(theirs.kind);
  const net::StreamPosition ours = state_.position(theirs.kind, state_.self());
  const bool has_all = known.replicator->in_step();
  const bool differs = has_all && ours.digest != theirs.digest;
  MeshPeer::TableCheck& check = known.table_checks[kind];
  const bool again = differs && check.differed;
  check.differed = differs;
  if (has_all && !differs) check.repaired = false;
  if (again && std::exchange(check.repaired, false)) {
    context_.refusals.count(
        net::Refusal::not_applied, known.link == nullptr ? "a peer" : known.link->address(),
        fmt::format("{}: sent again and acknowledged, and its rows are others still",
                    net::to_string(theirs.kind)));
  }
  if (!again || context_.now() < check.not_before) return;
  check.not_before = context_.now() + kRepairInterval;
  check.repaired = true;
  check.differed = false;  // judged anew when the rows have arrived
  known.replicator->repair(theirs.kind);
}

void MeshPeers::ask_all_positions() {
  for (auto& [node, known] : peers_) {
    if (known->link != nullptr) ask_positions(*known);
  }
}

void MeshPeers::check_synchronised(MeshPeer& known) {
  if (known.synchronised || !known.has_target) return;
  for (const net::StreamPosition& target : known.join_target) {
    if (net::is_table(target.kind) && !joining_) continue;
    if (state_.position(target.kind, target.origin).version < target.version) return;
  }
  known.synchronised = true;
  observer_.peers_changed();
}

void MeshPeers::applied(crdt::NodeId node) {
  auto known = peers_.find(node);
  if (known != peers_.end()) check_synchronised(*known->second);
  for (auto& [id, other] : peers_) {
    if (other->replicator->relays(node)) other->replicator->state_changed();
  }
}

void MeshPeers::told(crdt::NodeId node, const StreamBytes& bytes) {
  heard(node);
  relays_.told(node, context_.now());
  const auto known = peers_.find(node);
  if (known == peers_.end()) return;
  for (std::size_t kind = 0; kind < bytes.size(); ++kind) {
    known->second->bytes_received += bytes[kind];
    known->second->stream_bytes_received[kind] += bytes[kind];
  }
}

std::vector<crdt::NodeId> MeshPeers::pinged_by(crdt::NodeId node,
                                               const std::vector<net::FeedPositions>& writers,
                                               bool joining) {
  auto known = peers_.find(node);
  if (known == peers_.end()) return {};
  known->second->replicator->peer_joins(joining);
  known->second->replicator->relay(writers);
  std::vector<crdt::NodeId> heard;
  for (const net::FeedPositions& wanted : writers) {
    if (relays_.hears(wanted.writer.node, context_.now())) heard.push_back(wanted.writer.node);
  }
  return heard;
}

void MeshPeers::note_clock(MeshPeer& peer, std::uint64_t their_wall_ms, std::uint64_t our_wall_ms) {
  const double before = peer.clock_offset_ms;
  peer.clock_offset_ms = static_cast<double>(their_wall_ms) - static_cast<double>(our_wall_ms);
  const double limit = crdt::HybridClock::kMaxAheadMs;
  if (std::abs(peer.clock_offset_ms) <= limit || std::abs(before) > limit) return;
  const crdt::Member* member = state_.members().find(peer.node);
  note_refusal(
      fmt::format("the clock of {} is {:.0f} ms {} ours: its changes to instances and settings are "
                  "refused until the clocks agree",
                  member == nullptr ? "a peer" : member->name, std::abs(peer.clock_offset_ms),
                  peer.clock_offset_ms > 0 ? "ahead of" : "behind"));
}

}  // namespace dualmesh::node
