// Counters of the request path that the scheduler does not keep, and the Prometheus text of both.
//
// Threads: counters are relaxed atomics, written on any I/O thread and read anywhere.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "node/metrics/metrics_text.h"

namespace dualmesh::node {

using Counter = std::atomic<std::uint64_t>;

// Seconds, in the buckets that vLLM uses for the same quantity, so that the two can be laid over
// each other.
class SecondsHistogram {
 public:
  static constexpr std::array<double, 22> kBounds_s = {
      0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
      1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};

  void observe(double seconds);
  void append_to(MetricsText& out, std::string_view name, std::string_view help) const;

 private:
  std::array<Counter, kBounds_s.size() + 1> buckets_{};
  Counter sum_us_{0};
};

struct FlowStats {
  Counter live{0};            // requests held by the flow; zero when nothing is going on
  Counter routed{0};          // by prefix, through the scheduler
  Counter scanned{0};         // of these, whose prompts were read while they came
  Counter passed_through{0};  // other /v1/ requests
  Counter unauthorized{0};
  Counter bad_requests{0};  // answered 400 or 415
  Counter unknown_models{0};
  Counter no_instance{0};  // answered 503: nobody left to ask
  Counter queue_timeouts{0};
  Counter deadlines_passed{0};      // answered 504, or broken off
  Counter refused_early{0};         // 429 or 503: the line is full, or the estimate too late
  Counter refused_full{0};          // 503: no instance may have another request
  Counter retries{0};               // attempts given to another instance
  Counter retries_refused{0};       // by the budget
  Counter retries_unbudgeted{0};    // of the retries, those from an instance found down
  Counter handed_here{0};           // requests that bear the mark of a hop
  Counter handed_back{0};           // hops that failed before the first byte
  Counter upstream_not_started{0};  // attempts that failed before the first byte
  Counter upstream_broken{0};       // and after it
  Counter clients_gone{0};
  Counter aborted{0};     // broken off when the time for draining was up
  SecondsHistogram ttft;  // request complete -> first token seen, streamed answers only
};

void append_flow_stats(MetricsText& out, const FlowStats& stats);

}  // namespace dualmesh::node
