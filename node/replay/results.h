// What happened to each request of a replay.
//
// Seconds are model seconds (wall time x speed), except where a name says wall. Times count from
// the moment the workload wanted the request sent, so a generator that lags cannot flatter the
// result.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "node/replay/scrape.h"

namespace dualmesh::node {

enum class Outcome {
  completed,
  rejected,  // the service said not now: 429 or 503
  failed,
};

struct RequestResult {
  bool counted = true;  // false during warm-up
  Outcome outcome = Outcome::failed;
  std::string reason;  // of a rejection or failure
  double arrival_s = 0;
  double send_lateness_wall_s = 0;
  double ttft_s = std::numeric_limits<double>::infinity();
  double e2e_s = std::numeric_limits<double>::infinity();
  double itl_s = 0;  // mean gap between this request's tokens
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens = 0;
  std::uint32_t completion_tokens = 0;
  std::uint32_t connect_retries = 0;
  std::string node;      // x-dualmesh-node
  std::string instance;  // x-dualmesh-instance
};

struct ReplayOutcome {
  std::vector<RequestResult> results;  // of the requests sent
  std::size_t planned = 0;
  bool interrupted = false;
  double wall_seconds = 0;
  // One per scraped instance, by address; empty when nothing was scraped.
  std::map<std::string, EngineSample> engines;
  std::vector<std::string> unscraped;  // addresses that did not answer both times
  std::vector<std::string> notes;
};

}  // namespace dualmesh::node
