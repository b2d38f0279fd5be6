// KvReport: what a node knows of the caches and how it came by it, as one value for people, metrics
// and decisions.
//
// Threads: immutable after publication; share by shared_ptr<const KvReport>.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "node/kv/kv_exchange.h"
#include "node/kv/kv_stream.h"
#include "node/kv/kv_types.h"

namespace dualmesh::node {

// How far decisions may rely on what is known of a cache.
enum class KvConfidence : std::uint8_t {
  unknown,   // nothing is known yet
  degraded,  // true as far as it goes, and something is missing or may be old
  exact,
};
const char* to_string(KvConfidence confidence);

struct StreamReport {
  StreamKey stream;
  policies::CacheId cache = 0;
  StreamPosition position;
  StreamFacts facts;
  std::size_t present = 0;  // blocks held, known or not
  bool shares = false;      // it has a medium that others reach, too
  KvConfidence confidence = KvConfidence::unknown;
  std::string why_not_exact;            // for people; empty: exact
  std::vector<crdt::NodeId> observers;  // the first pushes
  bool observing = false;               // this node subscribes
  bool connected = false;               // and reaches the engine
  StreamCounters received;              // of this node's own subscription, as are the next three
  std::uint64_t changes = 0;
  std::uint64_t skipped_events = 0;   // known to us and of no use, or not known
  std::uint64_t refused_batches = 0;  // did not decode
  std::string last_refusal;           // of a batch or an event; empty: none
  std::string events, replay, topic;  // where it is heard; empty: it has none
  // What looks wrong with these, for people, as far as this node's own subscription shows it.
  std::vector<std::string> remarks;
  bool rates_known = false;   // false: too early to tell
  double events_per_s = 0.0;  // block changes, whoever brought them
  double bytes_per_s = 0.0;           // from the engine
};

struct KvReport {
  std::vector<StreamReport> streams;  // by name
  KvExchangeCounters exchange;
  std::size_t blocks = 0;  // in all maps
  std::size_t index_blocks = 0;
  std::size_t index_bytes = 0;
  std::uint32_t depth_limit = UINT32_MAX;
  bool mesh_known = false;       // every living node has said what it holds
  std::uint64_t generation = 0;  // of the set of caches and their confidence
};

// Every counter of it, for a node's /metrics: name, labels, value (node/metrics/metrics_text.h).
std::string kv_metrics(const KvReport& report);

}  // namespace dualmesh::node
