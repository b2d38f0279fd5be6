// Settings of a node's mesh half. Durations in milliseconds; every bound has its overflow rule
// beside it. The defaults serve a data centre; tests shorten them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "net/certificate_files.h"
#include "policies/fleet_view.h"
#include "policies/prompt_chain.h"
#include "policies/ring.h"

namespace dualmesh::node {

inline constexpr std::uint32_t kProtocolVersion = 2;
inline constexpr std::uint32_t kMaxRingGeneration = 1'000'000'000;

struct SeedInstance {  // [[instance]] of the configuration
  std::string name;
  std::string address;
  std::vector<std::string> models;  // empty: learned from /v1/models
  double weight = 1.0;
  std::string kv_events;  // where its engine publishes them; empty: nowhere
};

struct MeshConfig {
  std::string node_name;
  std::string cluster = "dualmesh";
  std::string listen = "127.0.0.1:7000";
  std::string advertise;           // as peers dial us; empty: the listen address
  std::string http_advertise;      // shown to people and peers
  std::vector<std::string> seeds;  // host:port of other nodes; our own address is ignored
  bool alone = false;              // ready without having met anyone
  bool may_found = true;      // ready when nobody answered for join_timeout_ms: the first of a mesh
  net::CertificateFiles tls;  // of this node; none: plain TCP
  std::uint32_t tls_check_interval_ms = 5'000;
  bool insecure = false;  // allow a listener beyond loopback without TLS
  std::string state_dir;  // registry and settings survive here; empty: nowhere
  std::string build;

  std::uint32_t ring_generation = 1;  // of the next two; the highest in the mesh counts
  policies::ChainParameters chain;
  policies::RingParameters ring;
  policies::RoutingSettings routing;  // until the mesh has a setting of its own
  std::vector<SeedInstance> instances;

  // What one incoming connection may do; beyond the rates it is read more slowly.
  std::uint32_t hello_timeout_ms = 5'000;  // not accepted by then: closed
  std::uint32_t max_messages_per_s = 20'000;
  std::uint64_t max_bytes_per_s = 128ull << 20;

  // Replication
  // Under sustained change; a first one goes at once or, slight, in 4 times this.
  std::uint32_t flush_interval_ms = 25;
  std::uint32_t max_push_bytes =
      256 * 1024;  // a larger delta is cut and continues with the next push
  std::uint32_t kv_flush_interval_ms = 30;    // the same of messages about caches
  std::uint32_t kv_max_call_bytes = 1 << 20;  // of them in one call and in its answer
  std::uint32_t positions_interval_ms = 1'000;
  std::uint32_t redial_min_ms = 100;
  std::uint32_t redial_max_ms = 2'000;
  std::uint32_t call_timeout_ms = 3'000;  // a push or hello not answered by then drops the link

  // Membership
  std::uint32_t ping_interval_ms = 250;
  std::uint32_t ping_timeout_ms = 500;
  std::uint32_t suspect_after_misses = 3;
  std::uint32_t suspicion_ms = 1'250;  // suspect -> dead unless refuted
  std::uint32_t indirect_probes = 3;
  std::uint32_t max_members = 1'024;      // beyond it the oldest unreachable one is forgotten
  std::uint32_t join_timeout_ms = 5'000;  // not joined by then: keep trying, say so in the log

  // Shared state
  std::uint32_t depth_bucket_s = 60;  // a mark lives one to two buckets after its last refresh
  std::uint32_t depth_max_marks = 4'096;
  std::uint32_t placement_ttl_s = 600;
  std::uint32_t max_placements = 1'000'000;  // own; the oldest expire first
  std::uint32_t max_instances = 4'096;
  std::uint32_t collection_horizon_s = 86'400;  // removed names are remembered this long at least
  std::uint32_t dead_count_s = 604'800;  // so long the dead count when most must live to collect
};

}  // namespace dualmesh::node
