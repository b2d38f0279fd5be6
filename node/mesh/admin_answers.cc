// What this node knows of itself and the mesh, as the messages of net/admin.capnp.
#include <spdlog/fmt/fmt.h>

#include "net/mesh_codec.h"
#include "node/mesh/admin_server.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

using net::StreamKind;

const char* status_name(crdt::MemberStatus status) {
  static constexpr const char* kNames[] = {"alive", "suspect", "dead", "left"};
  return kNames[static_cast<std::size_t>(status)];
}

template <class List>
void set_all(List out, const std::vector<std::string>& texts) {
  for (unsigned i = 0; i < out.size(); ++i) out.set(i, texts[i]);
}

void write_percentiles(const LatencyHistogram& histogram, wire::Percentiles::Builder out) {
  out.setCount(histogram.count());
  out.setP50(histogram.percentile(0.50));
  out.setP99(histogram.percentile(0.99));
  out.setMax(histogram.max_ms());
}

void write_load(const policies::Load& load, wire::LoadInfo::Builder out) {
  out.setQueuedRequests(load.queued_requests);
  out.setPrefillingRequests(load.prefilling_requests);
  out.setDecodingRequests(load.decoding_requests);
  out.setPendingTokens(load.pending_tokens());
  out.setDecodingTokens(load.decoding_tokens);
}

std::vector<std::string> setting_conflicts(const MeshNode& node) {
  std::vector<std::string> conflicts;
  node.state().settings().for_each([&](const net::SettingKey& key, const auto& value) {
    const auto& siblings = value.siblings();
    const auto same = [&](const auto& sibling) { return sibling.value == siblings[0].value; };
    if (std::all_of(siblings.begin(), siblings.end(), same)) return;
    std::string text = key.name + ":";
    for (const auto& sibling : siblings) text += " " + sibling.value;
    conflicts.push_back(text + " (acting on " + *value.chosen() + ")");
  });
  return conflicts;
}

void write_counts(MeshNode& node, wire::Status::Builder out) {
  std::uint32_t alive = 0;
  std::uint32_t known = 0;
  node.state().members().for_each([&](crdt::NodeId, const crdt::Member& member) {
    ++known;
    if (member.reachable()) ++alive;
  });
  out.setMembersAlive(alive);
  out.setMembersKnown(known);
  std::uint32_t active = 0;
  std::uint32_t healthy = 0;
  for (const auto& instance : node.view()->instances) {
    if (instance.lifecycle != policies::Lifecycle::active) continue;
    ++active;
    if (node.admin_host().facts(instance.slot).healthy) ++healthy;
  }
  out.setInstancesActive(active);
  out.setInstancesHealthy(healthy);
  const policies::SchedulerTotals totals = node.admin_host().totals();
  std::uint64_t live = 0;
  for (const auto& queue : node.admin_host().queues()) live += queue.own.requests();
  out.setRequestsLive(live);
  out.setRequestsTotal(totals.submitted);
  out.setRequestsFailed(totals.failed);
  out.setRequestsRejected(totals.rejected);
  out.setMigrations(totals.migrations);
}

std::string relay_of(const MeshNode& node, crdt::NodeId writer) {
  const auto relay = node.peers().relays().relay_of(writer);
  return relay ? node.name_of(*relay) : "";
}

void write_peer(const MeshNode& node, const MeshPeer& peer, wire::PeerInfo::Builder out) {
  const crdt::Member* member = node.state().members().find(peer.node);
  const ReplicatorStats& stats = peer.replicator->stats();
  out.setName(member == nullptr ? "" : member->name);
  out.setNode(hex(peer.node.value));
  out.setLinked(peer.link != nullptr);
  out.setPushes(stats.pushes);
  out.setBytesSent(stats.bytes_sent);
  out.setBytesReceived(peer.bytes_received);
  write_percentiles(stats.ack, out.initAckMs());
  out.setResets(stats.resets);
  out.setRefusedDeltas(stats.refused_deltas);
  out.setReconnects(peer.links_up > 0 ? peer.links_up - 1 : 0);
  out.setPendingMs(peer.replicator->pending_ms());
  out.setSnapshots(stats.snapshots);
  out.setRelayedBy(relay_of(node, peer.node));
  std::vector<std::string> relayed;
  for (const auto& [writer, at] : peer.replicator->relayed()) {
    relayed.push_back(node.name_of(writer));
  }
  set_all(out.initRelayedTo(static_cast<unsigned>(relayed.size())), relayed);
  auto bytes = out.initSentByStream(net::kStreamKinds);
  for (unsigned i = 0; i < bytes.size(); ++i) {
    bytes[i].setName(net::to_string(static_cast<StreamKind>(i)));
    bytes[i].setCount(stats.stream_bytes_sent[i]);
  }
}

struct NodeDigests {
  std::string name;
  bool ready;
  std::uint64_t ring, registry, depth, generation;
};

// What the living nodes route by, as they say it in their status; our own first-hand.
std::vector<NodeDigests> digests_of_nodes(const MeshNode& node) {
  const policies::FleetView& view = *node.view();
  std::vector<NodeDigests> rows;
  node.state().members().for_each([&](crdt::NodeId id, const crdt::Member& member) {
    if (!member.reachable()) return;
    if (id == node.state().self().node) {
      rows.push_back({member.name, node.ready(), view.ring_digest, node.state().registry_digest(),
                      view.depth ? view.depth->digest : 0, view.parameters.generation});
      return;
    }
    const auto* column = node.state().statuses().find(id);
    const auto number = [&](StatusKey key) {
      const auto* held =
          column == nullptr ? nullptr : column->feed.find(static_cast<std::uint8_t>(key));
      return held == nullptr ? 0 : held->value;
    };
    rows.push_back({member.name, number(StatusKey::ready) != 0, number(StatusKey::ring_digest),
                    number(StatusKey::registry_digest), number(StatusKey::depth_digest),
                    number(StatusKey::ring_generation)});
  });
  return rows;
}

void write_nodes(const MeshNode& node, wire::Status::Builder out) {
  const auto rows = digests_of_nodes(node);
  const policies::FleetView& view = *node.view();
  const std::uint64_t depth = view.depth ? view.depth->digest : 0;
  auto list = out.initNodes(static_cast<unsigned>(rows.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setName(rows[i].name);
    list[i].setReady(rows[i].ready);
    list[i].setRingDigest(hex(rows[i].ring));
    list[i].setRegistryDigest(hex(rows[i].registry));
    list[i].setDepthDigest(hex(rows[i].depth));
    list[i].setAgrees(rows[i].ring == view.ring_digest && rows[i].depth == depth &&
                      rows[i].registry == node.state().registry_digest());
  }
}

void write_relays(const MeshNode& node, wire::Status::Builder out) {
  std::vector<crdt::NodeId> writers;
  node.state().members().for_each([&](crdt::NodeId id, const crdt::Member& member) {
    if (member.reachable() && node.peers().relays().relay_of(id)) writers.push_back(id);
  });
  auto list = out.initRelayedBy(static_cast<unsigned>(writers.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setWriter(node.name_of(writers[i]));
    list[i].setThrough(relay_of(node, writers[i]));
  }
}

void write_replication_counts(const MeshNode& node, wire::Status::Builder out) {
  const StateCounters& counters = node.state().counters();
  out.setCollectionHorizonMs(node.collection_horizon_ms());
  out.setRemovedInstances(node.state().removed_instances());
  out.setCollectedInstances(counters.collected);
  out.setRelayedDeltas(counters.relayed);
  out.setDigestMismatches(counters.digest_mismatches);
  ReplicatorStats sum;
  std::uint64_t received = 0;
  for (const auto& [id, peer] : node.peers().all()) {
    sum.resets += peer->replicator->stats().resets;
    sum.snapshots += peer->replicator->stats().snapshots;
    sum.bytes_sent += peer->replicator->stats().bytes_sent;
    received += peer->bytes_received;
  }
  out.setResets(sum.resets);
  out.setSnapshots(sum.snapshots);
  out.setSnapshotsReceived(counters.snapshots);
  out.setBytesSent(sum.bytes_sent);
  out.setBytesReceived(received);
  std::vector<net::Refusal> refused;
  for (std::size_t i = 0; i < net::kRefusals; ++i) {
    if (node.refusals().of(static_cast<net::Refusal>(i)) > 0) {
      refused.push_back(static_cast<net::Refusal>(i));
    }
  }
  auto list = out.initRefusalCounts(static_cast<unsigned>(refused.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setName(net::to_string(refused[i]));
    list[i].setCount(node.refusals().of(refused[i]));
  }
}

}  // namespace

std::string hex(std::uint64_t value) { return fmt::format("{:016x}", value); }
std::string text_of(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

void write_status(MeshNode& node, wire::Status::Builder out) {
  const crdt::Member& self = node.state().self_member();
  const HostStatus host = node.admin_host().status();
  const policies::FleetView& view = *node.view();
  out.setNode(hex(node.state().self().node.value));
  out.setName(self.name);
  out.setCluster(node.config().cluster);
  out.setBuild(self.build);
  out.setEpoch(self.epoch.value);
  out.setUptimeS(policies::to_seconds(node.uptime()));
  out.setReady(node.ready());
  out.setNotReadyReason(node.why_not_ready());
  out.setDraining(node.draining() || host.draining);
  out.setPolicy(view.settings.policy);
  write_counts(node, out);
  set_all(out.initPanic(static_cast<unsigned>(host.panicking_models.size())),
          host.panicking_models);
  out.setRingDigest(hex(view.ring_digest));
  out.setRegistryDigest(hex(node.state().registry_digest()));
  out.setDepthDigest(hex(view.depth ? view.depth->digest : 0));
  out.setHttpAddress(self.http_address);
  out.setMeshAddress(self.mesh_address);
  const auto& refusals = node.peers().refusals();
  set_all(out.initRefusals(static_cast<unsigned>(refusals.size())),
          {refusals.begin(), refusals.end()});
  const auto conflicts = setting_conflicts(node);
  set_all(out.initSettingConflicts(static_cast<unsigned>(conflicts.size())), conflicts);
  out.setHeldBodyBytes(host.held_body_bytes);
  out.setOpenConnections(host.open_connections);
  out.setPartition(describe(node.partition(), node.now()));
  write_nodes(node, out);
  write_replication_counts(node, out);
  write_relays(node, out);
  out.setCertificateExpiresS(node.certificate_expires_s().value_or(0));
  out.setLocalHealth(node.peers().detector().health().score());
  out.setRefutations(node.refutations());
  out.setClockMs(node.wall_ms());
}

void write_members(const MeshNode& node, wire::Admin::MembersResults::Builder out) {
  out.setPartition(describe(node.partition(), node.now()));
  auto list = out.initMembers(static_cast<unsigned>(node.state().members().size()));
  unsigned i = 0;
  const policies::Time now = node.now();
  node.state().members().for_each([&](crdt::NodeId id, const crdt::Member& member) {
    auto info = list[i++];
    info.setNode(hex(id.value));
    info.setName(member.name);
    info.setStatus(status_name(member.status));
    info.setEpoch(member.epoch.value);
    info.setRefutations(member.refutations);
    info.setMeshAddress(member.mesh_address);
    info.setHttpAddress(member.http_address);
    info.setBuild(member.build);
    info.setIsSelf(id == node.state().self().node);
    info.setSinceMs(to_ms(now - node.status_since(id)));
    info.setRelayedBy(relay_of(node, id));
    const MeshPeer* peer = node.peers().find(id);
    if (peer == nullptr) return;
    info.setLinked(peer->link != nullptr);
    info.setRttMs(peer->rtt_ms);
    info.setClockOffsetMs(peer->clock_offset_ms);
    const policies::Time heard = node.peers().detector().last_heard(id);
    info.setLastHeardMs(heard.count() == 0 ? -1.0 : to_ms(now - heard));
  });
}

void write_instances(MeshNode& node, wire::Admin::InstancesResults::Builder out) {
  const auto records = node.registry().records();
  const auto queues = node.admin_host().queues();
  const auto& view = *node.view();
  auto list = out.initInstances(static_cast<unsigned>(records.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    const InstanceRecord& record = records[i];
    auto info = list[i];
    const policies::InstanceId id = policies::instance_id_of(record.name);
    info.setName(record.name);
    info.setId(hex(id));
    info.setAddress(record.address);
    set_all(info.initModels(static_cast<unsigned>(record.models.size())), record.models);
    info.setWeight(record.weight);
    info.setLifecycle(to_string(record.lifecycle));
    info.setSource(record.source);
    info.setKvEvents(record.kv_events);
    for (const auto& instance : view.instances) {
      if (instance.id != id) continue;
      const InstanceFacts facts = node.admin_host().facts(instance.slot);
      info.setHealthy(facts.healthy);
      info.setUnhealthyReason(facts.unhealthy_reason);
      info.setResidentBlocks(facts.resident_blocks);
      write_load(instance.others, info.initOthers());
      for (const auto& queue : queues) {
        if (queue.slot != instance.slot) continue;
        info.setOverloaded(queue.overloaded);
        write_load(queue.own, info.initOwn());
        info.setPrefillUsPerToken(queue.prefill_s_per_token * 1e6);
        info.setCompleted(queue.completed);
        info.setFailed(queue.failed);
      }
    }
  }
}

void write_node_rings(const MeshNode& node, wire::Rings::Builder out) {
  const auto rows = digests_of_nodes(node);
  const policies::FleetView& view = *node.view();
  auto list = out.initNodes(static_cast<unsigned>(rows.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setName(rows[i].name);
    list[i].setRingDigest(hex(rows[i].ring));
    list[i].setDepthDigest(hex(rows[i].depth));
    list[i].setAgrees(rows[i].ring == view.ring_digest);
    list[i].setGeneration(static_cast<std::uint32_t>(rows[i].generation));
  }
}

void write_rings(MeshNode& node, wire::Rings::Builder out) {
  const policies::FleetView& view = *node.view();
  const std::uint64_t own_depth = view.depth ? view.depth->digest : 0;
  out.setDigest(hex(view.ring_digest));
  auto models = out.initModels(static_cast<unsigned>(view.models.size()));
  unsigned m = 0;
  for (const auto& [name, model] : view.models) {
    models[m].setModel(name);
    models[m].setDigest(hex(model.ring_digest));
    std::vector<std::string> members;
    for (const policies::Slot slot : model.active) members.push_back(view.instances[slot].name);
    set_all(models[m++].initMembers(static_cast<unsigned>(members.size())), members);
  }
  out.setDepthDigest(hex(own_depth));
  out.setDepthMarks(view.depth ? view.depth->deeper.size() : 0);
  out.setAgree(view.rings_agree);
  out.setGeneration(view.parameters.generation);
  out.setConfiguredGeneration(node.config().ring_generation);

  write_node_rings(node, out);
  const policies::SchedulerTotals totals = node.admin_host().totals();
  out.setDecisions(totals.submitted);
  out.setDecisionsUnderDisagreement(totals.decisions_under_disagreement);
  write_percentiles(node.agreement(), out.initAgreementMs());
  const auto& changes = node.ring_changes();
  auto changed = out.initChanges(static_cast<unsigned>(changes.size()));
  for (unsigned i = 0; i < changed.size(); ++i) {
    changed[i].setDigest(hex(changes[i].digest));
    changed[i].setAtNs(changes[i].at_ns);
  }
}

void write_replication(const MeshNode& node, wire::Replication::Builder out) {
  out.setName(node.config().node_name);
  out.setNode(hex(node.state().self().node.value));
  const auto positions = node.state().positions();
  auto streams = out.initStreams(static_cast<unsigned>(positions.size()));
  for (unsigned i = 0; i < streams.size(); ++i) net::write_position(positions[i], streams[i]);
  const auto& peers = node.peers().all();
  auto list = out.initPeers(static_cast<unsigned>(peers.size()));
  unsigned i = 0;
  for (const auto& [id, peer] : peers) write_peer(node, *peer, list[i++]);
  out.setRoot(hex(node.state().root()));
}

}  // namespace dualmesh::node
