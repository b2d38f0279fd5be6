#include "node/mesh/handshake.h"

#include <algorithm>

#include "net/mesh_codec.h"
#include "node/mesh/ring_generation.h"

namespace dualmesh::node {
namespace {

constexpr std::uint64_t kLastWallMs = std::uint64_t{1} << 47;  // of any clock: the year 6429

void write_parameters(const std::string& cluster, const policies::RoutingParameters& ours,
                      wire::Parameters::Builder out) {
  out.setCluster(cluster);
  out.setGeneration(ours.generation);
  out.setBlockBytes(ours.chain.block_bytes);
  out.setChainSeed(ours.chain.seed);
  out.setRingPointsPerWeight(ours.ring.points_per_weight);
  out.setRingSeedA(ours.ring.seed_a);
  out.setRingSeedB(ours.ring.seed_b);
}

// Both sides log it, so it names the two and says neither "here" nor "there".
struct Sides {
  std::string caller;
  std::string callee;

  std::string differ(const char* what, const std::string& theirs, const std::string& ours) const {
    return theirs == ours
               ? std::string()
               : fmt::format("{} is {} at {} and {} at {}", what, theirs, caller, ours, callee);
  }
};

std::string differing_cluster(wire::Parameters::Reader theirs, const std::string& ours,
                              const Sides& sides) {
  const auto quoted = [](std::string_view text) { return fmt::format("'{}'", cut_text(text)); };
  const std::string_view cluster(theirs.getCluster().begin(), theirs.getCluster().size());
  return sides.differ("cluster", quoted(cluster), quoted(ours));
}

// Of one generation there is one content; two generations meet, and the higher one prevails.
std::string differing_parameter(wire::Parameters::Reader theirs,
                                const policies::RoutingParameters& ours, const Sides& sides) {
  if (theirs.getGeneration() != ours.generation) return "";
  const auto number = [](auto value) { return std::to_string(value); };
  std::string why;
  const auto check = [&](const char* what, auto there, auto here) {
    if (why.empty()) why = sides.differ(what, number(there), number(here));
  };
  check("ring block bytes", theirs.getBlockBytes(), ours.chain.block_bytes);
  check("prompt hash seed", theirs.getChainSeed(), ours.chain.seed);
  check("ring points", theirs.getRingPointsPerWeight(), ours.ring.points_per_weight);
  check("ring seed A", theirs.getRingSeedA(), ours.ring.seed_a);
  check("ring seed B", theirs.getRingSeedB(), ours.ring.seed_b);
  return why;
}

}  // namespace

std::string cut_text(std::string_view text) {
  constexpr std::size_t kLongest = 256;
  std::string cut(text.substr(0, kLongest));
  for (char& c : cut) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';  // no lines or colours of theirs
  }
  return text.size() <= kLongest ? cut : cut + "...";
}

void write_hello(const SharedState& state, const MeshConfig& config, std::uint64_t wall_ms,
                 wire::Hello::Builder out) {
  out.setProtocolVersion(kProtocolVersion);
  write_parameters(config.cluster, parameters_in_use(state.settings(), config),
                   out.initParameters());
  net::write_member(state.self().node, state.self_member(), out.initFrom());
  out.setWallMs(wall_ms);
}

net::Result<void> check_identity(const crdt::Member& member, crdt::NodeId node,
                                 const net::PeerIdentity* identity) {
  if (node != crdt::node_id_of(member.name)) {
    return net::Error{fmt::format("the node id {:016x} is not that of the name '{}'", node.value,
                                  cut_text(member.name))};
  }
  if (identity != nullptr && !identity->is_node(member.name)) {
    return net::Error{fmt::format("it calls itself '{}', but its certificate is that of {}",
                                  cut_text(member.name), cut_text(identity->describe()))};
  }
  return {};
}

HelloVerdict judge_hello(wire::Hello::Reader hello, const SharedState& state,
                         const MeshConfig& config, std::uint64_t wall_ms,
                         const std::function<bool(crdt::NodeId)>& heard_lately,
                         const net::PeerIdentity* identity) {
  HelloVerdict verdict;
  auto refuse = [&](net::Refusal reason, std::string why) {
    verdict.reason = reason;
    verdict.refusal = std::move(why);
    return verdict;
  };
  auto from = net::read_member(hello.getFrom());
  if (!from) return refuse(net::Refusal::unreadable, from.error().message);
  verdict.node = from->key;
  verdict.from = from->value;
  const Sides sides{cut_text(from->value.name), config.node_name};

  if (auto good = check_identity(from->value, from->key, identity); !good) {
    return refuse(net::Refusal::identity, good.error().message);
  }
  if (from->key == state.self().node) {
    verdict.known_epoch = state.self().epoch;
    verdict.is_self = from->value.epoch == state.self().epoch;
    return refuse(net::Refusal::name_in_use,
                  verdict.is_self
                      ? "this is the node that is calling"
                      : fmt::format("the node name '{}' is in use at {}", config.node_name,
                                    state.self_member().mesh_address));
  }
  if (hello.getProtocolVersion() != kProtocolVersion) {
    return refuse(net::Refusal::version,
                  sides.differ("protocol version", std::to_string(hello.getProtocolVersion()),
                               std::to_string(kProtocolVersion)));
  }
  const auto theirs = hello.getParameters();
  if (std::string why = differing_cluster(theirs, config.cluster, sides); !why.empty()) {
    return refuse(net::Refusal::cluster, std::move(why));
  }
  const auto ours = parameters_in_use(state.settings(), config);
  if (std::string why = differing_parameter(theirs, ours, sides); !why.empty()) {
    why += fmt::format(", both of ring generation {}", ours.generation);
    return refuse(net::Refusal::parameters, std::move(why));
  }
  if (from->value.epoch.value > wall_ms + kMaxEpochAheadMs) {
    return refuse(net::Refusal::epoch,
                  fmt::format("the epoch of {} is {} s ahead of the clock of {}", sides.caller,
                              (from->value.epoch.value - wall_ms) / 1000, sides.callee));
  }
  const crdt::Member* known = state.members().find(from->key);
  if (!state.has_room_for(from->key, from->value)) {
    return refuse(net::Refusal::members,
                  fmt::format("{} members are known, and that is the limit", config.max_members));
  }
  if (known != nullptr) {
    verdict.known_epoch = known->epoch;
    const bool lives_elsewhere = known->epoch != from->value.epoch && known->reachable() &&
                                 known->mesh_address != from->value.mesh_address &&
                                 heard_lately(from->key);
    if (lives_elsewhere) {
      return refuse(net::Refusal::name_in_use, fmt::format("the node name '{}' is in use at {}",
                                                           known->name, known->mesh_address));
    }
    if (from->value.epoch < known->epoch)
      return refuse(net::Refusal::epoch, "a later life of this node is known");
  }
  verdict.accepted = true;
  return verdict;
}

std::string absurd_epoch(wire::Welcome::Reader welcome, const crdt::Member& from,
                         std::uint64_t wall_ms) {
  const std::uint64_t latest = wall_ms + kMaxEpochAheadMs;
  if (from.epoch.value > latest) {
    return fmt::format("its epoch is {} s ahead of the clock here",
                       (from.epoch.value - wall_ms) / 1000);
  }
  const std::uint64_t known = welcome.getKnownEpoch();
  if (known <= latest) return "";
  const std::uint64_t their_ms = std::min<std::uint64_t>(welcome.getWallMs(), kLastWallMs);
  if (known <= their_ms + kMaxEpochAheadMs) return "";
  return fmt::format("it knows a life of this node that begins {} s ahead of its own clock",
                     (known - their_ms) / 1000);
}

}  // namespace dualmesh::node
