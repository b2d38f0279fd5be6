#include "node/router/flow_stats.h"

#include <algorithm>
#include <vector>

namespace dualmesh::node {

void SecondsHistogram::observe(double seconds) {
  const auto bound = std::lower_bound(kBounds_s.begin(), kBounds_s.end(), seconds);
  buckets_[static_cast<std::size_t>(bound - kBounds_s.begin())].fetch_add(
      1, std::memory_order_relaxed);
  sum_us_.fetch_add(static_cast<std::uint64_t>(std::max(0.0, seconds) * 1e6),
                    std::memory_order_relaxed);
}

void SecondsHistogram::append_to(MetricsText& out, std::string_view name,
                                 std::string_view help) const {
  std::vector<MetricsText::Bucket> buckets;
  for (std::size_t i = 0; i < kBounds_s.size(); ++i) {
    buckets.push_back({kBounds_s[i], buckets_[i].load(std::memory_order_relaxed)});
  }
  out.histogram(name, help, buckets, buckets_.back().load(std::memory_order_relaxed),
                static_cast<double>(sum_us_.load(std::memory_order_relaxed)) / 1e6);
}

void append_flow_stats(MetricsText& out, const FlowStats& stats) {
  const auto count = [&](std::string_view name, std::string_view help, const Counter& counter) {
    out.counter(name, help, static_cast<double>(counter.load(std::memory_order_relaxed)));
  };
  out.gauge("dualmesh_requests_live", "Requests held by this node now.",
            static_cast<double>(stats.live.load(std::memory_order_relaxed)));
  count("dualmesh_requests_routed_total", "Requests given to the scheduler.", stats.routed);
  count("dualmesh_prompts_scanned_total",
        "Of them, those whose prompts were read while their bodies arrived.", stats.scanned);
  count("dualmesh_requests_passed_through_total", "Other requests passed on unrouted.",
        stats.passed_through);
  count("dualmesh_requests_unauthorized_total", "Requests answered 401.", stats.unauthorized);
  count("dualmesh_requests_bad_total", "Requests answered 400 or 415.", stats.bad_requests);
  count("dualmesh_requests_unknown_model_total", "Requests answered 404 for their model.",
        stats.unknown_models);
  count("dualmesh_requests_no_instance_total", "Requests answered 503 for want of an instance.",
        stats.no_instance);
  count("dualmesh_requests_queue_timeout_total", "Requests answered 503 after waiting too long.",
        stats.queue_timeouts);
  count("dualmesh_requests_deadline_passed_total",
        "Requests answered 504 or broken off because their time was up.", stats.deadlines_passed);
  count("dualmesh_requests_refused_early_total",
        "Requests answered 429 or 503 because too many wait or the wait would be too long.",
        stats.refused_early);
  count("dualmesh_requests_refused_full_total",
        "Requests answered 503 because every instance has as many as it may.", stats.refused_full);
  count("dualmesh_requests_aborted_total", "Requests broken off at the end of draining.",
        stats.aborted);
  count("dualmesh_upstream_retries_total", "Attempts given to another instance.", stats.retries);
  count("dualmesh_upstream_retries_refused_total",
        "Failed attempts not made again, as the budget of retries was used up.",
        stats.retries_refused);
  count("dualmesh_upstream_retries_unbudgeted_total",
        "Attempts given to another instance as theirs was found down, whatever the budget.",
        stats.retries_unbudgeted);
  count("dualmesh_requests_handed_here_total", "Requests that say another node handed them over.",
        stats.handed_here);
  count("dualmesh_requests_handed_back_total",
        "Requests handed to another node that failed there before the first byte.",
        stats.handed_back);
  count("dualmesh_upstream_not_started_total", "Attempts that failed before the first byte.",
        stats.upstream_not_started);
  count("dualmesh_upstream_broken_total", "Answers that broke off after the first byte.",
        stats.upstream_broken);
  count("dualmesh_clients_gone_total", "Clients that left before their answer was complete.",
        stats.clients_gone);
  stats.ttft.append_to(out, "dualmesh_time_to_first_token_seconds",
                       "From the complete request to its first token, streamed answers.");
}

}  // namespace dualmesh::node
