// InstanceMonitor: asks each instance whether it is well, what it serves and how its engine does.
//
// GET of its health path each interval, spread over time; some misses in a row take an instance out
// of the candidates, some answers in a row bring it back. Traffic that cannot connect takes it out
// at once; what else traffic sees is for InstanceHealth. GET /v1/models at first sight, after a
// recovery and now and then.
//
// Invariant: every instance of the view that is not removed is watched, no other is; health is told
// once at first sight (as well, until shown otherwise) and at each change.
// Threads: probes run on the I/O thread given; set_view, failed and the questions from any thread.
// Hooks are called without a lock held, on whichever thread noticed.
// Source: active and passive health checking as in HAProxy and Envoy's outlier detection.
#pragma once

#include <boost/container/flat_map.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "net/http_client.h"
#include "node/mesh/mesh_host.h"
#include "node/router/engine_scraper.h"
#include "node/router/models_list.h"
#include "node/router/shared_scheduler.h"

namespace dualmesh::node {

class InstanceMonitor {
 public:
  struct Settings {
    std::chrono::milliseconds probe_interval{500};
    std::chrono::milliseconds probe_timeout{2'000};
    std::uint32_t unhealthy_after = 2;
    std::uint32_t healthy_after = 2;
    std::chrono::milliseconds models_interval{30'000};
    std::string upstream_api_key;
    std::chrono::milliseconds metrics_interval{2'000};
    std::string health_path = "/health";
    std::uint32_t health_status = 0;  // that says well; 0: any below 500
  };
  struct Hooks {
    std::function<void(policies::Slot, bool healthy)> health_changed;
    // It is back after having been down, or at another address: its cache is gone.
    std::function<void(policies::Slot)> cache_lost;
    // It serves other models than the view says.
    std::function<void(const std::string& instance, std::vector<std::string> models)> models_found;
    // What the models of all instances are, when it has changed. A model that an instance has when
    // it is asked, and does not name, is taken for no adapter.
    std::function<void(ModelKinds kinds)> kinds_found = {};
  };

  InstanceMonitor(net::IoThread& thread, Settings settings, Hooks hooks);

  void set_view(ViewPointer view);
  void failed(policies::Slot slot, net::ClientError error);  // seen by traffic: nobody is there?

  InstanceFacts facts(policies::Slot slot) const;  // resident_blocks is not ours to know
  std::vector<std::vector<ListedModel>> listed_models() const;  // by slot
  EngineMetrics engine_metrics(policies::Slot slot) const { return scraper_.metrics(slot); }

 private:
  struct Watched {
    std::string name;
    std::string address;
    std::vector<std::string> models;  // as the view says, sorted
    std::uint64_t life = 0;           // tells answers for an earlier instance in this slot apart
    bool healthy = true;
    std::uint32_t misses = 0;
    std::uint32_t answers = 0;
    std::string reason;
    std::string models_trouble;  // why it did not tell its models
    std::vector<ListedModel> listed;
    std::vector<std::string> settled;  // what it served when it last answered, or would not
    net::IoThread::Timer probe_timer;  // these two on thread_ only
    net::IoThread::Timer models_timer;
  };

  void adopt(const ViewPointer& view);
  void watch(const policies::InstanceView& instance, const std::vector<std::string>& models);
  void forget_all_but(const policies::FleetView& view);
  void schedule_probe(policies::Slot slot, std::uint64_t life, std::chrono::nanoseconds delay);
  void schedule_models(policies::Slot slot, std::uint64_t life, std::chrono::nanoseconds delay);
  std::chrono::nanoseconds models_pause(policies::Slot slot, std::uint64_t life);
  void probe(policies::Slot slot, std::uint64_t life);
  void ask_models(policies::Slot slot, std::uint64_t life);
  void models_answered(policies::Slot slot, std::uint64_t life, const net::HttpResponse& answer);
  void models_failed(policies::Slot slot, std::uint64_t life, std::string why);
  void missed(policies::Slot slot, std::uint64_t life, std::uint32_t misses, std::string reason);
  void answered(policies::Slot slot, std::uint64_t life);
  void tell_kinds();
  Watched* find(policies::Slot slot, std::uint64_t life);  // with mutex_ held
  net::HttpRequest get(const std::string& target) const;
  bool is_well(int status) const;

  net::IoThread& thread_;
  const Settings settings_;
  const Hooks hooks_;
  net::HttpClient client_;
  EngineScraper scraper_;
  std::uint64_t lives_ = 0;       // thread_ only, as is the next
  std::uint64_t generation_ = 0;  // of the view adopted
  mutable std::mutex mutex_;
  ModelKinds kinds_;                                             // guarded
  boost::container::flat_map<policies::Slot, Watched> watched_;  // guarded
};

}  // namespace dualmesh::node
