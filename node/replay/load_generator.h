// LoadGenerator sends a workload to real nodes, open loop: each request at its time, whatever
// became of those before it.
//
// Targets are taken in turn: the given addresses, or those a DNS name has, looked up again while
// running (an empty or failed look-up keeps the old ones). A connection that cannot be made is
// tried at the next address, as a client of a DNS name does; only when none accepts has the request
// failed. Every request is a streaming chat completion with max_tokens = output_tokens and
// ignore_eos.
//
// Invariant: every sent request ends in exactly one result; done runs once.
// Threads: start() and stop() from any thread; everything else happens on the IoThread given.
// Source: open-loop load without coordinated omission, as wrk2 argues for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/io_threads.h"
#include "node/replay/results.h"
#include "node/replay/workload.h"

namespace dualmesh::node {

struct LoadOptions {
  std::vector<std::string> targets;  // host:port; or
  std::string dns_host;              // this name
  std::uint16_t dns_port = 0;
  double dns_refresh_s = 2.0;  // wall
  std::string model = "sim";
  double speed = 1.0;
  std::size_t warmup = 0;    // first requests that are not counted
  double timeout_s = 600.0;  // wall; between bytes
};

struct LoadProgress {
  std::size_t sent = 0;
  std::size_t in_flight = 0;
  std::size_t completed = 0;
  std::size_t not_completed = 0;
  double model_s = 0;        // since the first arrival
  double recent_ttft_s = 0;  // mean of the last completed requests
};

class LoadGenerator {
 public:
  struct Callbacks {
    std::function<void()> measuring;  // just before the first counted request is sent
    std::function<void()> done;
  };
  LoadGenerator(net::IoThread& thread, const Workload& workload, LoadOptions options);
  ~LoadGenerator();  // after the thread has stopped

  void start(Callbacks callbacks);
  void stop();  // sends no more and ends what is in flight as failed ("interrupted")
  LoadProgress progress() const;                      // from any thread
  const std::vector<RequestResult>& results() const;  // after done

 private:
  class Run;
  std::shared_ptr<Run> run_;
};

}  // namespace dualmesh::node
