// EngineScraper: asks each instance for its engine's metrics now and then.
//
// GET /metrics of every instance each interval; one that has none, or none that we know, is asked
// less often. Nothing is decided by what it says: it is shown.
//
// Invariant: one request per instance is under way at most; what an instance does not say, or said
// before it stopped answering, is unknown.
// Threads: watch and forget on the I/O thread given; metrics from any.
// Source: Prometheus' pull model.
#pragma once

#include <boost/container/flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "net/http_client.h"
#include "node/router/engine_metrics_reader.h"
#include "policies/fleet_view.h"

namespace dualmesh::node {

class EngineScraper {
 public:
  struct Settings {
    std::chrono::milliseconds interval{2'000};
    std::chrono::milliseconds pause_without{60'000};
    std::chrono::milliseconds timeout{1'000};
    std::string upstream_api_key;
  };

  EngineScraper(net::IoThread& thread, net::HttpClient& client, Settings settings);

  void watch(policies::Slot slot, const std::string& address);  // new, or moved
  void forget(policies::Slot slot);
  EngineMetrics metrics(policies::Slot slot) const;

 private:
  struct Watched {
    std::string address;
    std::uint64_t life = 0;  // tells answers for an earlier instance in this slot apart
    EngineMetrics metrics;
    net::IoThread::Timer timer;  // thread_ only
  };
  void schedule(policies::Slot slot, std::uint64_t life, std::chrono::nanoseconds delay);
  void ask(policies::Slot slot, std::uint64_t life);
  void answered(policies::Slot slot, std::uint64_t life, net::ClientError error,
                const net::HttpResponse& answer);
  Watched* find(policies::Slot slot, std::uint64_t life);  // with mutex_ held

  net::IoThread& thread_;
  net::HttpClient& client_;
  const Settings settings_;
  std::uint64_t lives_ = 0;  // thread_ only
  mutable std::mutex mutex_;
  boost::container::flat_map<policies::Slot, Watched> watched_;  // guarded
};

}  // namespace dualmesh::node
