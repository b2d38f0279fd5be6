// KvAnswers: what administrators may ask of a node's knowledge of caches.
//
// Threads: any; nothing waits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/kv/kv_report.h"
#include "node/kv/kv_state.h"
#include "node/kv/kv_step_times.h"

namespace dualmesh::node {

// What an instance said of its cache hits beside what this node had expected.
struct KvPredictionReport {
  std::string instance;
  std::uint64_t requests = 0;      // whose usage said it
  double mean_error_tokens = 0.0;  // absolute
  double mean_bias_tokens = 0.0;   // said less expected, as in the metric
  std::string mismatch;            // in words; empty: none found
};

class KvAnswers {
 public:
  virtual ~KvAnswers() = default;
  virtual std::shared_ptr<const KvReport> kv_report() const = 0;
  virtual std::vector<KvPredictionReport> kv_predictions() const = 0;
  // All blocks of a stream as they were at one moment, null for a stream that is not known. `done`
  // is called once, on another thread.
  virtual void kv_cut(const StreamKey& stream,
                      std::function<void(std::shared_ptr<const StreamCut>)> done) = 0;
  // When the index had its last batches, from the first question on; likewise.
  virtual void kv_step_times(const StreamKey& stream,
                             std::function<void(std::vector<KvStepTime>)> done) = 0;
};

}  // namespace dualmesh::node
