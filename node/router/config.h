// Config: every setting of a node, as plain values, and the ways in and out of it.
//
// The settings themselves (names, ranges, help) are one table, settings_table.h; reading a TOML
// file, the command-line flags, --check-config and --print-config all follow that table. What is
// wrong is reported all at once, each with its place (file:line or flag), the setting's name and
// what is allowed.
//
// Invariant: a Config that loaded without problems has every value inside its range.
// Threads: values.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/certificate_files.h"
#include "net/http_client.h"
#include "net/http_server.h"
#include "node/identity/tenants.h"
#include "node/mesh/mesh_config.h"
#include "node/router/request_deadline.h"
#include "policies/admission.h"
#include "policies/outlier_detector.h"
#include "policies/residency_index.h"
#include "policies/scheduler.h"

namespace dualmesh::node {

// What is kept of the instances' KV events; the pace at which nodes tell each other is the mesh's.
struct KvConfig {
  std::uint32_t observers = 2;  // nodes that subscribe to one stream; 0: every node
  std::uint64_t max_blocks = 16'000'000;
  std::uint64_t max_stream_blocks = 4'000'000;
  std::uint32_t join_timeout_ms = 10'000;
  std::string tokenize = "auto";  // or "off"
  std::uint32_t tokenize_timeout_ms = 50;
  std::uint32_t token_cache_mb = 64;
};

struct Config {
  std::uint32_t io_threads = 0;  // 0: one per core
  std::string log_level = "info";
  std::string log_file;
  std::uint32_t drain_timeout_s = 30;
  std::string access_file;
  std::uint32_t access_waiting_records = 16'384;

  std::string http_listen = "127.0.0.1:8080";  // empty: TLS alone
  std::string http_tls_listen;                 // empty: no TLS
  net::CertificateFiles http_tls;
  std::uint32_t http_tls_check_interval_ms = 5'000;
  net::ServerLimits http_limits;
  net::ClientTimeouts upstream_timeouts;
  net::HttpClient::Limits upstream_pool;
  DeadlineSettings deadlines;
  IdentitySettings identity;
  std::string metrics_token;
  std::string upstream_api_key;

  MeshConfig mesh;
  std::string mesh_dns;
  std::uint32_t mesh_dns_interval_s = 5;

  std::string instances_dns;
  std::uint32_t instances_dns_interval_s = 5;
  std::uint32_t probe_interval_ms = 500;
  std::uint32_t probe_timeout_ms = 2'000;
  std::uint32_t unhealthy_after = 2;
  std::uint32_t healthy_after = 2;
  std::uint32_t models_interval_s = 30;
  std::string health_path = "/health";
  std::uint32_t health_status = 0;
  policies::OutlierSettings outliers;
  std::uint32_t eject_base_s = 10;
  std::uint32_t eject_most_s = 300;
  double max_ejected_percent = 50.0;
  std::uint32_t trial_requests = 3;

  policies::SchedulerSettings scheduler;
  std::vector<std::string> client_weights;  // NAME=WEIGHT
  double prefill_us_per_token = 160.0;
  std::uint32_t bytes_per_token = 4;
  std::uint32_t max_retries = 2;
  double retry_budget_percent = 20.0;
  std::uint32_t free_retries_per_s = 10;
  std::uint32_t retry_pause_ms = 25;
  std::uint32_t queue_timeout_s = 600;
  policies::AdmissionSettings admission;

  std::uint32_t residency_capacity_blocks = 4'096;
  KvConfig kv;
};

// What a Config means for its users; the only places where one setting reaches two of them.
policies::SchedulerSettings scheduler_settings(const Config& config);
policies::ResidencyIndex::Limits residency_limits(const Config& config);
MeshConfig mesh_config(const Config& config);

struct ConfigProblem {
  std::string where;    // "dualmeshd.toml:12" or "--mesh.seeds"
  std::string message;  // "routing.policy: ..."

  std::string text() const { return where + ": " + message; }
};
using ConfigProblems = std::vector<ConfigProblem>;

// Reads TOML text into `config`, which holds the defaults or what was read before. `file_name` is
// for messages only. Good settings are taken even when others are wrong.
ConfigProblems read_toml(std::string_view text, const std::string& file_name, Config& config);
// One `--key value` flag.
ConfigProblems read_flag(const std::string& key, const std::string& value, Config& config);
// The value of an `--instance name=e1,address=127.0.0.1:9001[,model=sim][,weight=1]
// [,kv_events=ENDPOINTS]` flag; the endpoints go to its end.
ConfigProblems read_instance_flag(const std::string& value, Config& config);
// What is wrong with the kv_events of an instance; empty: nothing, and so is no text at all.
std::string check_kv_events(const std::string& text);
// What no single setting can tell: duplicate instances, nothing to join, an open listener.
ConfigProblems check_whole(const Config& config, const std::string& where);
// Whether the listener's certificate can serve at `now_s`, in Unix time.
ConfigProblems check_certificate(const Config& config, const std::string& where,
                                 std::int64_t now_s);

// Every setting with its help, its range and the value it has, as TOML that reads back to the same.
// Secrets are left out, and so are the digests of keys.
std::string print_toml(const Config& config);

}  // namespace dualmesh::node
