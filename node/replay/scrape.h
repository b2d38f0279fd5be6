// What the instances say about themselves: metrics read before and after a run, and the difference.
//
// Knows vLLM's names and, where an instance is dualmesh-engine, its own. Series of several ranks or
// models are summed. A series that an instance does not have stays NaN; it is never taken for zero.
//
// Threads: values; pure functions.
// Source: Prometheus text exposition format 0.0.4.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "node/replay/statistics.h"

namespace dualmesh::node {

struct EngineSample {
  std::string name;  // as dualmesh-engine calls itself; empty for others
  double prompt_tokens = 0;
  double prefix_queries = 0;
  double prefix_hits = 0;
  double prefill_computed = 0;
  double generated_tokens = 0;
  double preemptions = 0;
  double running = 0;
  double waiting = 0;
  Buckets ttft_s;          // in the instance's own seconds
  Buckets lateness_s;      // of its iteration timer; empty unless dualmesh-engine
  double iteration_s = 0;  // wall time of all iterations
  double iterations = 0;
};

EngineSample parse_engine_metrics(std::string_view text);
// Counters as differences, gauges as they are in `after`.
EngineSample difference(const EngineSample& after, const EngineSample& before);
// p99 lateness over the mean iteration; NaN when the instance does not measure it.
double lateness_ratio_p99(const EngineSample& delta);

}  // namespace dualmesh::node
