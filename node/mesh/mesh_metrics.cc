#include "node/mesh/mesh_metrics.h"

#include <spdlog/fmt/fmt.h>

#include "node/mesh/mesh_node.h"
#include "node/metrics/metrics_text.h"

namespace dualmesh::node {
namespace {

MetricsText::Summary in_seconds(const LatencyHistogram& histogram) {
  return {histogram.percentile(0.5) / 1e3, histogram.percentile(0.99) / 1e3,
          histogram.sum_ms() / 1e3, histogram.count()};
}

void add_members(const MeshNode& node, MetricsText& out) {
  double counts[4] = {0, 0, 0, 0};
  node.state().members().for_each([&](crdt::NodeId, const crdt::Member& member) {
    ++counts[static_cast<std::size_t>(member.status)];
  });
  out.family("dualmesh_mesh_members", MetricType::gauge, "Nodes known, by status.");
  static constexpr const char* kStatus[] = {"alive", "suspect", "dead", "left"};
  for (std::size_t i = 0; i < 4; ++i) {
    out.sample({{"status", kStatus[i]}}, counts[i]);
  }
}

void add_peers(const MeshNode& node, MetricsText& out) {
  const auto each = [&](const char* name, MetricType type, const char* help, auto&& read) {
    out.family(name, type, help);
    for (const auto& [id, peer] : node.peers().all()) {
      out.sample({{"peer", node.name_of(peer->node)}}, static_cast<double>(read(*peer)));
    }
  };
  each("dualmesh_mesh_linked", MetricType::gauge, "1 when our link to the peer is up.",
       [](const MeshPeer& p) { return p.link != nullptr ? 1 : 0; });
  each("dualmesh_mesh_pushes_total", MetricType::counter, "Pushes sent.",
       [](const MeshPeer& p) { return p.replicator->stats().pushes; });
  each("dualmesh_mesh_sent_bytes_total", MetricType::counter, "Bytes of pushes sent.",
       [](const MeshPeer& p) { return p.replicator->stats().bytes_sent; });
  each("dualmesh_mesh_received_bytes_total", MetricType::counter, "Bytes of pushes received.",
       [](const MeshPeer& p) { return p.bytes_received; });
  each("dualmesh_mesh_kv_sent_bytes_total", MetricType::counter,
       "Bytes of messages about caches sent to the peer.",
       [&](const MeshPeer& p) { return node.courier().stats(p.node).bytes_sent; });
  each("dualmesh_mesh_kv_received_bytes_total", MetricType::counter,
       "Bytes of messages about caches received from the peer.",
       [&](const MeshPeer& p) { return node.courier().stats(p.node).bytes_received; });
  each("dualmesh_mesh_kv_calls_total", MetricType::counter,
       "Calls that carried them, or asked for them, made to the peer.",
       [&](const MeshPeer& p) { return node.courier().stats(p.node).calls; });
  each("dualmesh_mesh_resets_total", MetricType::counter,
       "Streams sent again from an earlier version.",
       [](const MeshPeer& p) { return p.replicator->stats().resets; });
  each("dualmesh_mesh_snapshots_sent_total", MetricType::counter,
       "Deltas sent from the beginning of a stream.",
       [](const MeshPeer& p) { return p.replicator->stats().snapshots; });
  each("dualmesh_mesh_reconnects_total", MetricType::counter, "Links that came up after the first.",
       [](const MeshPeer& p) { return p.links_up > 0 ? p.links_up - 1 : 0; });
  each("dualmesh_mesh_refused_deltas_total", MetricType::counter, "Deltas the peer did not apply.",
       [](const MeshPeer& p) { return p.replicator->stats().refused_deltas; });
  each("dualmesh_mesh_pending_seconds", MetricType::gauge,
       "Age of the oldest change the peer has not acknowledged.",
       [](const MeshPeer& p) { return p.replicator->pending_ms() / 1e3; });
  each("dualmesh_mesh_rtt_seconds", MetricType::gauge, "Round trip of the last ping.",
       [](const MeshPeer& p) { return p.rtt_ms / 1e3; });
  each("dualmesh_mesh_clock_offset_seconds", MetricType::gauge, "The peer's wall clock minus ours.",
       [](const MeshPeer& p) { return p.clock_offset_ms / 1e3; });
  each("dualmesh_mesh_relayed", MetricType::gauge,
       "1 when what the peer says comes through a third node.",
       [&](const MeshPeer& p) { return node.peers().relays().relay_of(p.node) ? 1 : 0; });
  out.family("dualmesh_mesh_stream_sent_bytes_total", MetricType::counter,
             "Bytes of pushes sent to all peers, by stream.");
  for (std::size_t i = 0; i < net::kStreamKinds; ++i) {
    std::uint64_t bytes = 0;
    for (const auto& [id, peer] : node.peers().all()) {
      bytes += peer->replicator->stats().stream_bytes_sent[i];
    }
    out.sample({{"stream", net::to_string(static_cast<net::StreamKind>(i))}},
               static_cast<double>(bytes));
  }
  out.family("dualmesh_mesh_ack_seconds", MetricType::summary,
             "From a change here to its acknowledgement by the peer.");
  for (const auto& [id, peer] : node.peers().all()) {
    out.summary({{"peer", node.name_of(peer->node)}}, in_seconds(peer->replicator->stats().ack));
  }
}

void add_state(const MeshNode& node, MetricsText& out) {
  const StateCounters& counters = node.state().counters();
  out.family("dualmesh_mesh_deltas_total", MetricType::counter,
             "Deltas and rows received, by what became of them.");
  const auto result = [&](const char* name, std::uint64_t count) {
    out.sample({{"result", name}}, static_cast<double>(count));
  };
  result("applied", counters.applied);
  result("duplicate", counters.duplicates);
  result("gap", counters.gaps);
  result("below_horizon", counters.below_horizon);
  result("malformed", counters.malformed);
  result("stale_writer", counters.stale_writer);
  result("far_future", counters.far_future);
  result("over_bounds", counters.over_bounds);
  out.counter("dualmesh_mesh_digest_mismatches_total",
              "Equal versions with unequal contents: never normal.",
              static_cast<double>(counters.digest_mismatches));
  out.counter("dualmesh_mesh_relayed_deltas_total",
              "Deltas applied that came through a third node.",
              static_cast<double>(counters.relayed));
  out.counter("dualmesh_mesh_snapshots_received_total", "Deltas applied that began a stream anew.",
              static_cast<double>(counters.snapshots));
  out.gauge("dualmesh_mesh_removed_instances", "Removed instances whose names are remembered.",
            static_cast<double>(node.state().removed_instances()));
  out.counter("dualmesh_mesh_collected_total", "Removed instances whose names were dropped.",
              static_cast<double>(counters.collected));
  out.gauge("dualmesh_mesh_collection_horizon_seconds",
            "Unix time through which removed instances have been dropped; 0: none ever.",
            static_cast<double>(node.collection_horizon_ms()) / 1e3);
  out.gauge("dualmesh_mesh_registry_rows", "Fields of instances held.",
            static_cast<double>(node.state().registry().size()));
  out.gauge("dualmesh_mesh_depth_marks", "Depth marks held.",
            static_cast<double>(node.state().depth().size()));
  out.gauge("dualmesh_mesh_own_placements", "Placements of this node that have not expired.",
            static_cast<double>(node.state().own_residency().size()));
}

void add_node(const MeshNode& node, MetricsText& out) {
  out.gauge("dualmesh_mesh_ready", "1 when joined and synchronised.", node.ready() ? 1 : 0);
  out.gauge("dualmesh_mesh_unreachable_members", "Members declared dead that have not left.",
            static_cast<double>(node.partition().unreachable));
  out.gauge("dualmesh_mesh_rings_agree", "1 when all living nodes report the same rings.",
            node.view()->rings_agree ? 1 : 0);
  out.counter("dualmesh_mesh_views_total", "Fleet views published.",
              static_cast<double>(node.views_published()));
  out.gauge("dualmesh_mesh_ring_changes", "Ring changes remembered.",
            static_cast<double>(node.ring_changes().size()));
  out.family("dualmesh_mesh_ring_agreement_seconds", MetricType::summary,
             "From a ring disagreement to agreement.");
  out.summary({}, in_seconds(node.agreement()));
  const PeersCounters& peers = node.peers().counters();
  out.counter("dualmesh_mesh_dials_failed_total", "Dials and handshakes that failed.",
              static_cast<double>(peers.dials_failed));
  out.counter("dualmesh_mesh_links_lost_total", "Links that were up and ended.",
              static_cast<double>(peers.links_lost));
  out.counter("dualmesh_mesh_pings_failed_total", "Pings without an answer.",
              static_cast<double>(peers.pings_failed));
  out.counter("dualmesh_mesh_suspicions_total", "Accusations made by this node.",
              static_cast<double>(peers.suspicions));
  out.counter("dualmesh_mesh_deaths_total", "Nodes this node declared dead.",
              static_cast<double>(peers.deaths));
  out.counter("dualmesh_mesh_own_pauses_total",
              "Times this node found itself late and forgave others.",
              static_cast<double>(node.peers().detector().own_pauses()));
  out.gauge("dualmesh_mesh_local_health", "How far this node doubts itself: 0 well, 8 worst.",
            node.peers().detector().health().score());
  out.counter("dualmesh_mesh_refutations_total", "Accusations of this node that it answered.",
              static_cast<double>(node.refutations()));
  out.gauge("dualmesh_mesh_incoming_connections", "Incoming connections open.",
            static_cast<double>(node.acceptor().connections()));
  out.counter("dualmesh_mesh_turned_away_total", "Incoming connections beyond the bound.",
              static_cast<double>(node.acceptor().turned_away()));
  out.counter("dualmesh_mesh_epoch_raises_total",
              "Times an earlier life of this node outran its epoch.",
              static_cast<double>(node.epoch_raises()));
}

void add_refusals(const MeshNode& node, MetricsText& out) {
  out.family("dualmesh_mesh_refusals_total", MetricType::counter,
             "What was not taken from the mesh's port, by reason.");
  for (std::size_t i = 0; i < net::kRefusals; ++i) {
    const auto reason = static_cast<net::Refusal>(i);
    out.sample({{"reason", net::to_string(reason)}},
               static_cast<double>(node.refusals().of(reason)));
  }
  out.counter("dualmesh_mesh_throttled_total",
              "Times that a connection of the mesh was read more slowly.",
              static_cast<double>(node.acceptor().throttled() + node.peers().counters().throttled));
  if (const auto expires_s = node.certificate_expires_s()) {
    out.gauge("dualmesh_mesh_certificate_expiry_seconds", "Until this node's certificate expires.",
              static_cast<double>(*expires_s) - static_cast<double>(node.wall_ms()) / 1e3);
  }
}

}  // namespace

std::string mesh_metrics(const MeshNode& node) {
  MetricsText out;
  add_node(node, out);
  add_refusals(node, out);
  add_members(node, out);
  add_peers(node, out);
  add_state(node, out);
  return out.take();
}

std::string dump_mesh(const MeshNode& node) {
  std::string out = fmt::format("mesh of {}: {}{}\n", node.config().node_name,
                                node.ready() ? "ready" : "not ready: ", node.why_not_ready());
  node.state().members().for_each([&](crdt::NodeId id, const crdt::Member& member) {
    const MeshPeer* peer = node.peers().find(id);
    out += fmt::format(
        "  member {} epoch {} refutations {} status {} {} {}\n", member.name, member.epoch.value,
        member.refutations, static_cast<int>(member.status), member.mesh_address,
        peer == nullptr ? "self"
        : peer->link != nullptr
            ? fmt::format("linked, pending {:.1f} ms", peer->replicator->pending_ms())
            : "not linked");
  });
  for (const net::StreamPosition& at : node.state().positions()) {
    out += fmt::format("  stream {} of {:016x} epoch {} version {} entries {} digest {:016x}\n",
                       net::to_string(at.kind), at.origin.node.value, at.origin.epoch.value,
                       at.version.value, at.digest.count, at.digest.sum);
  }
  for (std::size_t i = 0; i < net::kRefusals; ++i) {
    const auto reason = static_cast<net::Refusal>(i);
    if (const std::uint64_t count = node.refusals().of(reason); count > 0) {
      out += fmt::format("  refused {} {}\n", net::to_string(reason), count);
    }
  }
  for (const std::string& refusal : node.peers().refusals()) out += "  refusal " + refusal + "\n";
  return out;
}

}  // namespace dualmesh::node
