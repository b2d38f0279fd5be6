#include "node/router/node_metrics.h"

namespace dualmesh::node {
namespace {

using policies::InstanceView;
using policies::QueueSnapshot;

double number(auto value) { return static_cast<double>(value); }

void append_scheduler(MetricsText& out, const policies::SchedulerTotals& totals) {
  const auto count = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    out.counter(name, help, number(value));
  };
  out.family("dualmesh_requests_total", MetricType::counter, "Requests that ended, by outcome.");
  out.sample({{"outcome", "finished"}}, number(totals.finished));
  out.sample({{"outcome", "failed"}}, number(totals.failed));
  out.sample({{"outcome", "cancelled"}}, number(totals.cancelled));
  out.sample({{"outcome", "rejected"}}, number(totals.rejected));
  count("dualmesh_requests_submitted_total", "Requests submitted to the scheduler.",
        totals.submitted);
  count("dualmesh_requests_retried_total", "Requests placed again after a failure.",
        totals.retried);
  count("dualmesh_migrations_total", "Queued requests moved to another instance.",
        totals.migrations);
  count("dualmesh_requests_handed_total", "Requests handed to another node, which places them.",
        totals.handed);
  count("dualmesh_decisions_under_disagreement_total",
        "Decisions made while the nodes' rings differed.", totals.decisions_under_disagreement);
  count("dualmesh_input_tokens_total", "Prompt tokens, estimated.", totals.input_tokens);
  count("dualmesh_predicted_hit_tokens_total", "Prompt tokens expected to be cached.",
        totals.predicted_hit_tokens);
  count("dualmesh_reported_cached_tokens_total", "Prompt tokens cached as the instances reported.",
        totals.reported_cached_tokens);
}

// One gauge per instance: `value(queue)`.
template <class Value>
void append_queues(MetricsText& out, const NodeSnapshot& node, std::string_view name,
                   MetricType type, std::string_view help, Value value) {
  out.family(name, type, help);
  for (const QueueSnapshot& queue : node.queues) {
    if (queue.slot >= node.view.instances.size()) continue;
    const InstanceView& instance = node.view.instances[queue.slot];
    out.sample({{"instance", instance.name}}, number(value(queue, instance)));
  }
}

void append_instances(MetricsText& out, const NodeSnapshot& node) {
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    append_queues(out, node, name, MetricType::gauge, help, value);
  };
  const auto counter = [&](std::string_view name, std::string_view help, auto value) {
    append_queues(out, node, name, MetricType::counter, help, value);
  };
  gauge("dualmesh_instance_healthy", "1 when probed well by this node and not ejected.",
        [](const QueueSnapshot& queue, const InstanceView&) { return queue.healthy ? 1 : 0; });
  using Health = InstanceHealth::Verdict::State;
  gauge("dualmesh_instance_ejected", "1 while it rests because it answered badly.",
        [&](const QueueSnapshot& queue, const InstanceView&) {
          return node.health(queue.slot) == Health::ejected ? 1 : 0;
        });
  gauge("dualmesh_instance_on_trial", "1 while it is tried after a rest, with a few requests.",
        [&](const QueueSnapshot& queue, const InstanceView&) {
          return node.health(queue.slot) == Health::on_trial ? 1 : 0;
        });
  out.counter("dualmesh_instance_ejections_total", "Times that any instance was put to rest.",
              number(node.ejections));
  gauge("dualmesh_instance_overloaded", "1 when the scheduler moves requests away.",
        [](const QueueSnapshot& queue, const InstanceView&) { return queue.overloaded ? 1 : 0; });
  gauge("dualmesh_instance_queued_requests", "Waiting at this node.",
        [](const QueueSnapshot& queue, const InstanceView&) { return queue.own.queued_requests; });
  gauge("dualmesh_instance_prefilling_requests", "Sent by this node, no token yet.",
        [](const QueueSnapshot& queue, const InstanceView&) {
          return queue.own.prefilling_requests;
        });
  gauge(
      "dualmesh_instance_decoding_requests", "Sent by this node, answering.",
      [](const QueueSnapshot& queue, const InstanceView&) { return queue.own.decoding_requests; });
  gauge("dualmesh_instance_pending_tokens", "Uncached prefill tokens waiting or sent, this node's.",
        [](const QueueSnapshot& queue, const InstanceView&) { return queue.own.pending_tokens(); });
  gauge("dualmesh_instance_others_requests", "Requests that other nodes have at the instance.",
        [](const QueueSnapshot&, const InstanceView& instance) {
          return instance.others.requests();
        });
  gauge("dualmesh_instance_others_pending_tokens",
        "Uncached prefill tokens waiting or sent, other nodes'.",
        [](const QueueSnapshot&, const InstanceView& instance) {
          return instance.others.pending_tokens();
        });
  gauge("dualmesh_instance_prefill_seconds_per_token", "As configured or learned.",
        [](const QueueSnapshot& queue, const InstanceView&) { return queue.prefill_s_per_token; });
  counter("dualmesh_instance_completed_total", "Requests it completed for this node.",
          [](const QueueSnapshot& queue, const InstanceView&) { return queue.completed; });
  counter("dualmesh_instance_failed_total", "Requests it failed for this node.",
          [](const QueueSnapshot& queue, const InstanceView&) { return queue.failed; });
}

// What the engines say of themselves; no sample where one does not.
template <class Value>
void append_engines(MetricsText& out, const NodeSnapshot& node, std::string_view name,
                    std::string_view help, std::optional<Value> EngineMetrics::*field) {
  out.family(name, MetricType::gauge, help);
  for (const QueueSnapshot& queue : node.queues) {
    if (queue.slot >= node.view.instances.size()) continue;
    const EngineMetrics engine = node.engine(queue.slot);
    if (const auto& value = engine.*field) {
      out.sample({{"instance", node.view.instances[queue.slot].name}}, number(*value));
    }
  }
}

void append_engines(MetricsText& out, const NodeSnapshot& node) {
  append_engines(out, node, "dualmesh_instance_engine_running_requests",
                 "Requests that the engine computes, as it says.", &EngineMetrics::running);
  append_engines(out, node, "dualmesh_instance_engine_waiting_requests",
                 "Requests that wait in the engine, as it says.", &EngineMetrics::waiting);
  append_engines(out, node, "dualmesh_instance_engine_kv_usage_ratio",
                 "KV memory in use by live requests, as the engine says, 1 means all.",
                 &EngineMetrics::kv_usage);
  append_engines(out, node, "dualmesh_instance_engine_kv_blocks",
                 "KV blocks that the engine has, as it says.", &EngineMetrics::gpu_blocks);
  append_engines(out, node, "dualmesh_instance_engine_block_tokens",
                 "Tokens of a KV block, as the engine says.", &EngineMetrics::block_tokens);
}

void append_tls(MetricsText& out, const net::ServerStats& http, const CertificateState& state) {
  out.family("dualmesh_http_tls_handshakes_total", MetricType::counter,
             "TLS handshakes with clients, by how they ended.");
  out.sample({{"end", "full"}}, number(http.tls_handshakes));
  out.sample({{"end", "resumed"}}, number(http.tls_resumed));
  out.sample({{"end", "failed"}}, number(http.tls_failed));
  out.gauge("dualmesh_http_certificate_expiry_seconds",
            "Until the certificate shown to clients expires.", number(state.expires_in_s));
  out.gauge("dualmesh_http_certificate_files_refused",
            "1 while the files hold what cannot be used, and an older certificate is.",
            state.files_refused ? 1 : 0);
}

void append_http(MetricsText& out, const net::ServerStats& http) {
  out.counter("dualmesh_http_connections_accepted_total", "Client connections.",
              number(http.accepted));
  out.gauge("dualmesh_http_connections_open", "Client connections now.",
            number(http.open_connections));
  out.counter("dualmesh_http_requests_total", "Requests whose heads were read.",
              number(http.requests));
  out.family("dualmesh_http_refused_total", MetricType::counter,
             "Requests refused by the listener.");
  out.sample({{"why", "malformed"}}, number(http.refused_malformed));
  out.sample({{"why", "too_large"}}, number(http.refused_too_large));
  out.sample({{"why", "overload"}}, number(http.refused_overload));
  out.sample({{"why", "slow"}}, number(http.refused_slow));
  out.sample({{"why", "connections"}}, number(http.refused_connections));
  out.sample({{"why", "connections_per_address"}}, number(http.refused_addresses));
  out.sample({{"why", "plain_text"}}, number(http.refused_plain_text));
  out.sample({{"why", "tls"}}, number(http.refused_tls));
  out.gauge("dualmesh_http_half_open_connections",
            "Client connections in a TLS handshake or in the head of a request.",
            number(http.half_open_connections));
  out.gauge("dualmesh_http_held_requests", "Requests held now.", number(http.held_requests));
  out.gauge("dualmesh_http_held_body_bytes", "Bytes of request bodies held now.",
            number(http.held_body_bytes));
}

}  // namespace

std::string node_metrics(const NodeSnapshot& node) {
  MetricsText out;
  append_scheduler(out, node.totals);
  append_instances(out, node);
  append_engines(out, node);
  append_http(out, node.http);
  if (node.certificate) append_tls(out, node.http, *node.certificate);
  append_flow_stats(out, node.flow);
  out.gauge("dualmesh_resident_blocks", "Prefix blocks believed to be cached somewhere.",
            number(node.resident_blocks));
  out.gauge("dualmesh_draining", "1 while draining.", node.status.draining ? 1 : 0);
  out.family("dualmesh_model_panic", MetricType::gauge,
             "1 while the health of a model's instances is ignored: more than half look dead.");
  for (const std::string& model : node.status.panicking_models) {
    out.sample({{"model", model}}, 1);
  }
  return out.take();
}

}  // namespace dualmesh::node
