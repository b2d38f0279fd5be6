// The settings of how requests find their instances.
#include "node/router/settings_rows.h"

namespace dualmesh::node {

void add_instances(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {optional_address("instances.dns", TEXT(instances_dns),
                        "NAME:PORT whose A and AAAA records are instances. Empty: not used."),
       {"instances.dns_interval_s", COUNT(instances_dns_interval_s),
        "Seconds between those look-ups.", 1, kDay_s},
       {"instances.probe_interval_ms", COUNT(probe_interval_ms),
        "Time between GET /health of each instance.", 10, kDay_ms},
       {"instances.probe_timeout_ms", COUNT(probe_timeout_ms),
        "A probe not answered by then is a miss.", 10, kDay_ms},
       {"instances.unhealthy_after", COUNT(unhealthy_after),
        "Misses in a row that take an instance out of the candidates.", 1, 1'000},
       {"instances.healthy_after", COUNT(healthy_after), "Answers in a row that bring it back.", 1,
        1'000},
       {"instances.health_path", TEXT(health_path), "What a probe asks for.", 0, 0,
        TextRule::not_empty},
       {"instances.health_status", COUNT(health_status),
        "The status that a probe must be answered with. 0: any below 500.", 0, 599},
       {"instances.eject_failures", COUNT(outliers.failures_in_a_row),
        "Failures in a row (connection lost, 502 to 504, no HTTP, too late) that eject an instance "
        "for a while. 0: none do.",
        0, 1'000'000},
       {"instances.eject_rate_margin", REAL(outliers.rate_margin),
        "An instance whose success rate of the last 30 s lies so far below that of all others, and "
        "by more than chance, is ejected. 0: none is.",
        0.0, 1.0},
       {"instances.eject_base_s", COUNT(eject_base_s),
        "How long an ejected instance rests, times its ejections lately.", 1, kDay_s},
       {"instances.eject_most_s", COUNT(eject_most_s), "How long it rests at most.", 1, kDay_s},
       {"instances.max_ejected_percent", REAL(max_ejected_percent),
        "Most instances ejected at a time, but one always may be, and the last of a model never.",
        0.0, 100.0},
       {"instances.trial_requests", COUNT(trial_requests),
        "After its rest an instance gets so many requests without an answer at a time, until as "
        "many "
        "were answered.",
        1, 1'000},
       {"instances.max_requests", COUNT(scheduler.max_requests),
        "Most requests of this node at or waiting for one instance; where all have as many, 503 "
        "with "
        "Retry-After. 0: any number.",
        0, 1'000'000},
       {"instances.max_waiting", COUNT(scheduler.max_waiting),
        "Most requests that wait at this node for one instance. 0: any number.", 0, 1'000'000},
       {"instances.models_interval_s", COUNT(models_interval_s),
        "Seconds between GET /v1/models of each instance.", 1, kDay_s}});
}

void add_routing(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {{"routing.policy", TEXT(mesh.routing.policy),
        "Policy until the mesh has one of its own (dualmeshctl policy set).", 0, 0,
        TextRule::policy},
       {"routing.queue", TEXT(mesh.routing.queue),
        "Order in which requests wait at this node (policies/README.md). Empty: the policy's own.",
        0, 0, TextRule::queue_order},
       {"routing.client_weights",
        TEXTS(client_weights),
        "NAME=WEIGHT of clients, by API key or `user`, unless the mesh has another for them "
        "(dualmeshctl weights set); for the orders vtc and dlpm. Others have weight 1.",
        0,
        0,
        TextRule::not_empty,
        {},
        true},
       {"routing.slo_ttft_s", REAL(mesh.routing.slo_ttft_s),
        "Wanted time to first token; half of it is the threshold of the choice.", 0.001, 3'600},
       {"routing.overload_wait_s", REAL(scheduler.overload_wait_s),
        "An instance whose queue's head waited this long is overloaded.", 0.001, 3'600},
       {"routing.prefill_limit", COUNT(scheduler.prefill_limit),
        "Requests without a first token per instance and node; the rest wait here.", 1, 10'000},
       {"routing.prefill_us_per_token", REAL(prefill_us_per_token),
        "Microseconds of prefill per uncached token, until learned.", 0.001, 1'000'000},
       {"routing.instance_cache_tokens", SIZE(scheduler.instance_cache_tokens),
        "Tokens that the KV memory of an instance holds; for the policies that look at what is "
        "free.",
        1, 1e12},
       {"routing.learn", FLAG(scheduler.learn_prefill_cost),
        "Learn that cost per instance from first tokens."},
       {"routing.ring_generation", COUNT(mesh.ring_generation),
        "Generation of block_bytes and ring_points: raise it by one to change them, node by node. "
        "All nodes use the highest that any of them knows.",
        1, kMaxRingGeneration},
       {"routing.block_bytes", COUNT(mesh.chain.block_bytes),
        "Bytes of prompt text per block of the prefix key; equal on all nodes of a generation.", 64,
        1024 * kKiB},
       {"routing.bytes_per_token", COUNT(bytes_per_token),
        "Estimate of prompt bytes per token, as JSON spells the prompt.", 1, 64},
       {"routing.ring_points", COUNT(mesh.ring.points_per_weight),
        "Points of an instance of weight 1 on each ring; equal on all nodes of a generation.", 1,
        10'000},
       {"routing.depth_window", COUNT(scheduler.depth_window),
        "Prefix keys over which heat is counted.", 1, 1'000'000},
       {"routing.depth_min_samples", COUNT(scheduler.depth_min_samples),
        "Keys seen before anything counts as hot.", 1, 1'000'000},
       {"routing.depth_hot_share", REAL(scheduler.depth_hot_share),
        "Share of the window from which a key is hashed one block deeper.", 0.0001, 1.0},
       {"routing.depth_cold_share", REAL(scheduler.depth_cold_share),
        "Share below which it no longer is.", 0.0, 1.0},
       {"routing.depth_max_marks", COUNT(scheduler.depth_max_marks),
        "Own marks per level; the least recently used go first.", 1, 10'000'000},
       {"routing.depth_bucket_s", COUNT(mesh.depth_bucket_s),
        "A shared mark lives one to two of these after its last refresh.", 1, kDay_s},
       {"routing.depth_max_shared_marks", COUNT(mesh.depth_max_marks), "Marks shared by the mesh.",
        1, 1'000'000},
       {"routing.rebalance_examine_limit", COUNT(scheduler.rebalance_examine_limit),
        "Queued requests examined per rebalancing.", 1, 100'000},
       {"routing.decision_log_size", COUNT(scheduler.decision_log_size),
        "Decision records kept for dualmeshctl decisions.", 1, 1'000'000},
       {"routing.max_retries", COUNT(max_retries),
        "Times a request is tried elsewhere when an instance fails before the first byte.", 0, 16},
       {"routing.retry_budget_percent", REAL(retry_budget_percent),
        "Most retries of ten seconds, in percent of their requests; beyond it a failure is final.",
        0.0, 1'600.0},
       {"routing.free_retries_per_s", COUNT(free_retries_per_s),
        "Retries that are made however few requests there are.", 0, 1'000'000},
       {"routing.retry_pause_ms", COUNT(retry_pause_ms),
        "Longest pause before a first retry, twice that before the next; a random part of it is "
        "waited. 0: none.",
        0, 1'000},
       {"routing.max_waiting", COUNT(admission.max_waiting),
        "Most requests that wait at this node; one more that would is answered 503, or 429 where "
        "its "
        "client has more than an even share of them, with Retry-After. 0: any number.",
        0, 10'000'000},
       {"routing.refuse_over_slos", REAL(admission.refuse_over_slos),
        "A request that would wait and whose estimated time to first token is beyond so many times "
        "routing.slo_ttft_s is answered the same, at once. 0: none is.",
        0.0, 1'000.0},
       {"routing.queue_timeout_s", COUNT(queue_timeout_s),
        "A request not sent to an instance by then is answered 503.", 1, kDay_s}});
}

void add_residency(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {{"residency.capacity_blocks", COUNT(residency_capacity_blocks),
        "Prefix blocks an instance is expected to keep cached.", 1, 10'000'000},
       {"residency.ttl_s", COUNT(mesh.placement_ttl_s),
        "A placed block is expected to be cached for this long after its last use.", 1, kDay_s}});
}

void add_kv(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {{"kv.observers", COUNT(kv.observers),
        "Nodes that subscribe to the KV events of one instance; the others have them from these. "
        "0: all nodes.",
        0, 64},
       {"kv.flush_interval_ms", COUNT(mesh.kv_flush_interval_ms),
        "Shortest time between messages about caches to one node under sustained change; a first "
        "one goes at once.",
        1, 1'000},
       {"kv.max_blocks", SIZE(kv.max_blocks),
        "Cached blocks known of all instances; beyond it the rest is unknown.", 1'000, 1e9},
       {"kv.max_stream_blocks", SIZE(kv.max_stream_blocks),
        "Cached blocks known of one engine; beyond it the rest is unknown.", 1'000, 1e9},
       {"kv.join_timeout_ms", COUNT(kv.join_timeout_ms),
        "A node that starts waits for so long at most until it knows the caches as the others do.",
        0, kDay_ms},
       {"kv.tokenize",
        TEXT(kv.tokenize),
        "Ask the instances for the tokens of a prompt, which their KV events are about. auto: of "
        "models whose instances have kv_events. off: caches are predicted from the text alone.",
        0,
        0,
        TextRule::one_of,
        {"auto", "off"}},
       {"kv.tokenize_timeout_ms", COUNT(kv.tokenize_timeout_ms),
        "A prompt whose tokens are not known by then is routed without them.", 1, 10'000},
       {"kv.token_cache_mb", COUNT(kv.token_cache_mb),
        "Memory for the tokens of prompts seen before. 0: none are kept.", 0, 65'536}});
}

}  // namespace dualmesh::node
