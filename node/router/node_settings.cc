#include "node/router/node_settings.h"

#include <algorithm>
#include <random>

#include "node/mesh/ring_generation.h"

namespace dualmesh::node {

FlowSettings flow_settings(const Config& config) {
  FlowSettings settings;
  settings.node_name = config.mesh.node_name;
  settings.chain = chain_of(configured_parameters(config.mesh));
  settings.bytes_per_token = config.bytes_per_token;
  settings.max_retries = config.max_retries;
  settings.retry_budget.share = config.retry_budget_percent / 100;
  settings.retry_budget.free_retries =
      config.free_retries_per_s *
      static_cast<std::uint32_t>(policies::to_seconds(settings.retry_budget.window));
  settings.retry_pause = std::chrono::milliseconds(config.retry_pause_ms);
  settings.retry_seed = std::random_device{}();
  settings.deadlines = config.deadlines;
  settings.admission = config.admission;
  settings.queue_timeout = std::chrono::seconds(config.queue_timeout_s);
  settings.upstream_timeouts = config.upstream_timeouts;
  settings.upstream_pool = config.upstream_pool;
  if (!config.upstream_api_key.empty()) {
    settings.upstream_authorization = "Bearer " + config.upstream_api_key;
  }
  settings.drop_client_key = config.identity.needs_key();
  settings.tokens = {config.kv.tokenize != "off",
                     std::chrono::milliseconds(config.kv.tokenize_timeout_ms),
                     std::size_t{config.kv.token_cache_mb} << 20};
  return settings;
}

InstanceHealth::Settings health_settings(const Config& config) {
  InstanceHealth::Settings settings{config.outliers, config.trial_requests};
  settings.outliers.base = std::chrono::seconds(config.eject_base_s);
  settings.outliers.most = std::chrono::seconds(std::max(config.eject_base_s, config.eject_most_s));
  settings.outliers.max_share = config.max_ejected_percent / 100;
  return settings;
}

InstanceMonitor::Settings monitor_settings(const Config& config) {
  InstanceMonitor::Settings settings;
  settings.probe_interval = std::chrono::milliseconds(config.probe_interval_ms);
  settings.probe_timeout = std::chrono::milliseconds(config.probe_timeout_ms);
  settings.unhealthy_after = config.unhealthy_after;
  settings.healthy_after = config.healthy_after;
  settings.models_interval = std::chrono::seconds(config.models_interval_s);
  settings.upstream_api_key = config.upstream_api_key;
  settings.health_path = config.health_path;
  settings.health_status = config.health_status;
  return settings;
}

}  // namespace dualmesh::node
