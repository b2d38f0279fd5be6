// The Prometheus text of a node's request path.
//
// Threads: a pure function of snapshots (counters are read as they are).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "net/http_server.h"
#include "node/mesh/mesh_host.h"
#include "node/router/engine_metrics_reader.h"
#include "node/router/flow_stats.h"
#include "node/router/instance_health.h"

namespace dualmesh::node {

// Of the client listener; times in seconds.
struct CertificateState {
  std::int64_t expires_in_s = 0;
  bool files_refused = false;
};

struct NodeSnapshot {
  const policies::FleetView& view;
  policies::SchedulerTotals totals;
  std::vector<policies::QueueSnapshot> queues;
  HostStatus status;
  net::ServerStats http;
  std::optional<CertificateState> certificate;  // none: no TLS
  const FlowStats& flow;
  std::size_t resident_blocks;
  std::function<EngineMetrics(policies::Slot)> engine;
  std::function<InstanceHealth::Verdict::State(policies::Slot)> health;
  std::uint64_t ejections = 0;
};

std::string node_metrics(const NodeSnapshot& node);

}  // namespace dualmesh::node
