#include "node/ctl/session.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

std::uint64_t from_hex(capnp::Text::Reader text) {
  std::uint64_t value = 0;
  std::from_chars(text.begin(), text.end(), value, 16);
  return value;
}

void read_positions(wire::Replication::Reader replication, NodeReport& report) {
  for (auto position : replication.getStreams()) {
    StreamId id{.kind = static_cast<std::uint16_t>(position.getKind())};
    if (!is_table(id.kind)) {
      id.node = position.getOrigin().getNode();
      id.epoch = position.getOrigin().getEpoch();
    }
    report.positions[id] = Position{.version = position.getVersion(),
                                    .count = position.getCount(),
                                    .sum = position.getSum(),
                                    .partial = position.getPartial()};
  }
  for (auto peer : replication.getPeers()) {
    if (peer.getRelayedBy().size() == 0) continue;
    report.relays[from_hex(peer.getNode())] = peer.getRelayedBy().cStr();
  }
}

void read_caches(wire::Kv::Reader kv, NodeReport& report) {
  for (auto stream : kv.getStreams()) {
    const KvStreamName name{stream.getInstance().cStr(), stream.getRank()};
    const std::uint64_t id = kv_stream_id(name.instance, name.rank);
    report.kv_streams.emplace(id, name);
    if (stream.getEpoch() == 0) continue;  // nobody has heard of it, or this node has not
    report.positions[{kKvStream, id, stream.getEpoch()}] =
        Position{.version = stream.getEnd(),
                 .count = stream.getDigestCount(),
                 .sum = stream.getDigestSum(),
                 .partial = stream.getBase() != 0};
  }
}

}  // namespace

AdminClient& Session::client(const std::string& address) {
  auto& slot = clients_[address];
  if (!slot) slot = std::make_unique<AdminClient>(address, io_);
  return *slot;
}

std::string dead_text(const std::vector<DeadNode>& dead) {
  std::vector<std::string> parts;
  for (const DeadNode& node : dead) {
    parts.push_back(fmt::format("{} for {}", node.name, ms_text(node.since_ms)));
  }
  return parts.empty() ? "" : "dead or cut off: " + joined(parts);
}

nlohmann::ordered_json dead_json(const std::vector<DeadNode>& dead) {
  auto list = nlohmann::ordered_json::array();
  for (const DeadNode& node : dead) {
    list.push_back({{"name", node.name}, {"since_ms", node.since_ms}});
  }
  return list;
}

net::Result<std::vector<LiveNode>> Session::live_nodes(std::vector<DeadNode>* dead) {
  AdminClient& asked = node();
  auto answer = asked.call(asked.admin().membersRequest(), "read the members");
  if (!answer) return answer.error();
  std::vector<LiveNode> nodes;
  for (auto member : answer->getMembers()) {
    const std::string status(member.getStatus().cStr());
    if (status == "dead" && dead != nullptr) {
      dead->push_back({member.getName().cStr(), member.getSinceMs()});
    }
    if (status != "alive" && status != "suspect") continue;
    nodes.push_back(
        {.name = member.getName().cStr(),
         .node = from_hex(member.getNode()),
         .epoch = member.getEpoch(),
         // The address that was given works from here, whatever the node calls itself.
         .mesh_address = member.getIsSelf() ? address_ : member.getMeshAddress().cStr()});
  }
  std::sort(nodes.begin(), nodes.end(),
            [](const LiveNode& a, const LiveNode& b) { return a.name < b.name; });
  return nodes;
}

net::Result<Session::MeshReport> Session::ask_all() {
  MeshReport report;
  auto nodes = live_nodes(&report.dead);
  if (!nodes) return nodes.error();
  std::vector<PendingCall<wire::Admin::ReplicationResults>> calls;
  std::vector<PendingCall<wire::Admin::StatusResults>> statuses;
  std::vector<PendingCall<wire::Admin::KvResults>> caches;
  for (const LiveNode& live : *nodes) {
    AdminClient& asked = client(live.mesh_address);
    calls.push_back(asked.send(asked.admin().replicationRequest(), "read its positions"));
    statuses.push_back(asked.send(asked.admin().statusRequest(), "read its status"));
    caches.push_back(asked.send(asked.admin().kvRequest(), "read what it knows of caches"));
  }
  for (std::size_t i = 0; i < nodes->size(); ++i) {
    const LiveNode& live = (*nodes)[i];
    NodeReport entry{.name = live.name,
                     .node = live.node,
                     .epoch = live.epoch,
                     .address = live.mesh_address,
                     .reached = false,
                     .why_not = {},
                     .positions = {}};
    auto answer = calls[i].wait();
    auto status = statuses[i].wait();
    auto kv = caches[i].wait();  // an older node has none to tell
    report.answers.emplace_back();
    if (answer && !status) answer = status.error();
    if (answer) {
      entry.ready = status->getStatus().getReady();
      entry.not_ready = status->getStatus().getNotReadyReason().cStr();
      entry.ring_digest = status->getStatus().getRingDigest().cStr();
      entry.registry_digest = status->getStatus().getRegistryDigest().cStr();
      entry.depth_digest = status->getStatus().getDepthDigest().cStr();
      entry.reached = true;
      report.answers.back() =
          std::make_shared<capnp::Response<wire::Admin::ReplicationResults>>(kj::mv(*answer));
      read_positions(report.answers.back()->getReplication(), entry);
      if (kv) read_caches(kv->getKv(), entry);
    } else {
      entry.why_not = answer.error().message;
      forget(live.mesh_address);
    }
    report.nodes.push_back(std::move(entry));
  }
  return report;
}

int failed(const net::Error& error) {
  std::fprintf(stderr, "dualmeshctl: %s\n", error.message.c_str());
  return kExitFailed;
}

}  // namespace dualmesh::node::ctl
