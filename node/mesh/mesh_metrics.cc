#include "node/mesh/mesh_metrics.h"

#include <spdlog/fmt/fmt.h>

#include <iterator>

#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

class MetricsText {
 public:
  void family(const char* name, const char* type, const char* help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_),
                   "# HELP dualmesh_mesh_{0} {1}\n# TYPE dualmesh_mesh_{0} {2}\n", name, help,
                   type);
  }
  void value(const std::string& labels, double number) {
    fmt::format_to(std::back_inserter(text_), "dualmesh_mesh_{}{}{}{} {}\n", name_,
                   labels.empty() ? "" : "{", labels, labels.empty() ? "" : "}", number);
  }
  void one(const char* name, const char* type, const char* help, double number) {
    family(name, type, help);
    value("", number);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  const char* name_ = "";
};

std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

std::string peer_label(const MeshNode& node, const MeshPeer& peer) {
  const crdt::Member* member = node.state().members().find(peer.node);
  return fmt::format("peer=\"{}\"", quoted(member == nullptr ? "" : member->name));
}

void add_members(const MeshNode& node, MetricsText& out) {
  double counts[4] = {0, 0, 0, 0};
  node.state().members().for_each([&](crdt::NodeId, const crdt::Member& member) {
    ++counts[static_cast<std::size_t>(member.status)];
  });
  out.family("members", "gauge", "Nodes known, by status.");
  static constexpr const char* kStatus[] = {"alive", "suspect", "dead", "left"};
  for (std::size_t i = 0; i < 4; ++i) {
    out.value(fmt::format("status=\"{}\"", kStatus[i]), counts[i]);
  }
}

void add_peers(const MeshNode& node, MetricsText& out) {
  const auto each = [&](const char* name, const char* type, const char* help, auto&& read) {
    out.family(name, type, help);
    for (const auto& [id, peer] : node.peers().all()) {
      out.value(peer_label(node, *peer), static_cast<double>(read(*peer)));
    }
  };
  each("linked", "gauge", "1 when our link to the peer is up.",
       [](const MeshPeer& p) { return p.link != nullptr ? 1 : 0; });
  each("pushes_total", "counter", "Pushes sent.",
       [](const MeshPeer& p) { return p.replicator->stats().pushes; });
  each("sent_bytes_total", "counter", "Bytes of pushes sent.",
       [](const MeshPeer& p) { return p.replicator->stats().bytes_sent; });
  each("received_bytes_total", "counter", "Bytes of pushes received.",
       [](const MeshPeer& p) { return p.bytes_received; });
  each("resets_total", "counter", "Streams sent again from an earlier version.",
       [](const MeshPeer& p) { return p.replicator->stats().resets; });
  each("refused_deltas_total", "counter", "Deltas the peer did not apply.",
       [](const MeshPeer& p) { return p.replicator->stats().refused_deltas; });
  each("pending_seconds", "gauge", "Age of the oldest change the peer has not acknowledged.",
       [](const MeshPeer& p) { return p.replicator->pending_ms() / 1e3; });
  each("rtt_seconds", "gauge", "Round trip of the last ping.",
       [](const MeshPeer& p) { return p.rtt_ms / 1e3; });
  each("clock_offset_seconds", "gauge", "The peer's wall clock minus ours.",
       [](const MeshPeer& p) { return p.clock_offset_ms / 1e3; });
  out.family("ack_seconds", "summary", "From a change here to its acknowledgement by the peer.");
  for (const auto& [id, peer] : node.peers().all()) {
    const LatencyHistogram& ack = peer->replicator->stats().ack;
    const std::string label = peer_label(node, *peer);
    out.value(label + ",quantile=\"0.5\"", ack.percentile(0.5) / 1e3);
    out.value(label + ",quantile=\"0.99\"", ack.percentile(0.99) / 1e3);
  }
  out.family("ack_seconds_count", "counter", "Acknowledgements measured.");
  for (const auto& [id, peer] : node.peers().all()) {
    out.value(peer_label(node, *peer), static_cast<double>(peer->replicator->stats().ack.count()));
  }
}

void add_state(const MeshNode& node, MetricsText& out) {
  const StateCounters& counters = node.state().counters();
  out.family("deltas_total", "counter", "Deltas and rows received, by what became of them.");
  const auto result = [&](const char* name, std::uint64_t count) {
    out.value(fmt::format("result=\"{}\"", name), static_cast<double>(count));
  };
  result("applied", counters.applied);
  result("duplicate", counters.duplicates);
  result("gap", counters.gaps);
  result("below_horizon", counters.below_horizon);
  result("malformed", counters.malformed);
  result("stale_writer", counters.stale_writer);
  result("far_future", counters.far_future);
  result("over_bounds", counters.over_bounds);
  out.one("digest_mismatches_total", "counter",
          "Equal versions with unequal contents: never normal.",
          static_cast<double>(counters.digest_mismatches));
  out.one("collected_total", "counter", "Removed instances whose names were dropped.",
          static_cast<double>(counters.collected));
  out.one("collection_horizon_seconds", "gauge",
          "Unix time through which removed instances have been dropped; 0: none ever.",
          static_cast<double>(node.collection_horizon_ms()) / 1e3);
  out.one("registry_rows", "gauge", "Fields of instances held.",
          static_cast<double>(node.state().registry().size()));
  out.one("depth_marks", "gauge", "Depth marks held.",
          static_cast<double>(node.state().depth().size()));
  out.one("own_placements", "gauge", "Placements of this node that have not expired.",
          static_cast<double>(node.state().own_residency().size()));
}

void add_node(const MeshNode& node, MetricsText& out) {
  out.one("ready", "gauge", "1 when joined and synchronised.", node.ready() ? 1 : 0);
  out.one("rings_agree", "gauge", "1 when all living nodes report the same rings.",
          node.view()->rings_agree ? 1 : 0);
  out.one("views_total", "counter", "Fleet views published.",
          static_cast<double>(node.views_published()));
  out.one("ring_changes", "gauge", "Ring changes remembered.",
          static_cast<double>(node.ring_changes().size()));
  out.family("ring_agreement_seconds", "summary", "From a ring disagreement to agreement.");
  out.value("quantile=\"0.5\"", node.agreement().percentile(0.5) / 1e3);
  out.value("quantile=\"0.99\"", node.agreement().percentile(0.99) / 1e3);
  const PeersCounters& peers = node.peers().counters();
  out.one("dials_failed_total", "counter", "Dials and handshakes that failed.",
          static_cast<double>(peers.dials_failed));
  out.one("links_lost_total", "counter", "Links that were up and ended.",
          static_cast<double>(peers.links_lost));
  out.one("pings_failed_total", "counter", "Pings without an answer.",
          static_cast<double>(peers.pings_failed));
  out.one("suspicions_total", "counter", "Accusations made by this node.",
          static_cast<double>(peers.suspicions));
  out.one("deaths_total", "counter", "Nodes this node declared dead.",
          static_cast<double>(peers.deaths));
  out.one("own_pauses_total", "counter", "Times this node found itself late and forgave others.",
          static_cast<double>(node.peers().detector().own_pauses()));
  out.one("local_health", "gauge", "How far this node doubts itself: 0 well, 8 worst.",
          node.peers().detector().health().score());
  out.one("refutations_total", "counter", "Accusations of this node that it answered.",
          static_cast<double>(node.refutations()));
  out.one("incoming_connections", "gauge", "Incoming connections open.",
          static_cast<double>(node.acceptor().connections()));
  out.one("turned_away_total", "counter", "Incoming connections beyond the bound.",
          static_cast<double>(node.acceptor().turned_away()));
  out.one("epoch_raises_total", "counter", "Times an earlier life of this node outran its epoch.",
          static_cast<double>(node.epoch_raises()));
}

void add_refusals(const MeshNode& node, MetricsText& out) {
  out.family("refusals_total", "counter", "What was not taken from the mesh's port, by reason.");
  for (std::size_t i = 0; i < net::kRefusals; ++i) {
    const auto reason = static_cast<net::Refusal>(i);
    out.value(fmt::format("reason=\"{}\"", net::to_string(reason)),
              static_cast<double>(node.refusals().of(reason)));
  }
  out.one("throttled_total", "counter", "Times that an incoming connection was read more slowly.",
          static_cast<double>(node.acceptor().throttled()));
  if (const auto expires_s = node.certificate_expires_s()) {
    out.one("certificate_expiry_seconds", "gauge", "Until this node's certificate expires.",
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
