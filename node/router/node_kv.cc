#include "node/router/node_kv.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "crdt/membership.h"

namespace dualmesh::node {
namespace {

std::uint64_t wall_us() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count());
}

KvIngestSettings ingest_settings(const Config& config) {
  KvIngestSettings settings;
  settings.self = crdt::node_id_of(config.mesh.node_name);
  settings.limits.max_blocks = config.kv.max_blocks;
  settings.limits.max_stream_blocks = config.kv.max_stream_blocks;
  settings.exchange.observers = config.kv.observers == 0 ? kAllObservers : config.kv.observers;
  settings.exchange.wall_us = wall_us;
  settings.join_timeout = std::chrono::milliseconds(config.kv.join_timeout_ms);
  return settings;
}

policies::HitSource source_of(KvConfidence confidence) {
  switch (confidence) {
    case KvConfidence::exact:
      return policies::HitSource::exact;
    case KvConfidence::degraded:
      return policies::HitSource::degraded;
    case KvConfidence::unknown:
      break;
  }
  return policies::HitSource::unknown;
}

std::shared_ptr<const KvView> view_of(const KvReport& report, const policies::FleetView& fleet,
                                      const KvIngest& ingest) {
  if (report.streams.empty()) return nullptr;
  std::map<std::string_view, const policies::InstanceView*> instances;
  for (const policies::InstanceView& instance : fleet.instances) {
    if (instance.slot != policies::kNoSlot) instances.emplace(instance.name, &instance);
  }
  auto view = std::make_shared<KvView>();
  view->index = &ingest.index();
  view->removals = &ingest.removals();
  view->generation = report.generation;
  for (const StreamReport& stream : report.streams) {
    const auto found = instances.find(stream.stream.instance);
    if (found == instances.end()) continue;
    const policies::InstanceView& instance = *found->second;
    if (stream.cache >= view->caches.size()) view->caches.resize(stream.cache + 1u);
    view->caches[stream.cache] = {instance.slot,
                                  stream.stream.rank,
                                  source_of(stream.confidence),
                                  stream.facts.block_tokens,
                                  stream.shares,
                                  instance.id};
  }
  view->derive();
  view->derive_groups(fleet);
  return view;
}

}  // namespace

NodeKv::NodeKv(const Config& config, RequestFlow& flow, std::function<void()> waiting)
    : flow_(flow),
      ingest_(ingest_settings(config), std::move(waiting),
              [this](const KvReport& report, const ViewPointer& fleet) {
                if (report.generation == generation_ && fleet == fleet_) return;
                generation_ = report.generation;
                fleet_ = fleet;
                flow_.knowledge().publish(view_of(report, *fleet, ingest_));
              }) {}

void NodeKv::view_changed(ViewPointer view) { ingest_.set_view(std::move(view)); }

std::string NodeKv::metrics() const { return kv_metrics(*ingest_.report()); }

std::vector<KvPredictionReport> NodeKv::kv_predictions() const {
  std::vector<KvPredictionReport> told;
  for (const PredictionReport& report : flow_.predictions().reports()) {
    KvPredictionReport sum{.instance = report.instance, .mismatch = report.mismatch};
    double error = 0.0, bias = 0.0;
    for (const PredictionReport::OfSource& source : report.by_source) {
      sum.requests += source.samples;
      error += static_cast<double>(source.absolute_error);
      bias += static_cast<double>(source.bias);
    }
    if (sum.requests > 0) {
      sum.mean_error_tokens = error / static_cast<double>(sum.requests);
      sum.mean_bias_tokens = bias / static_cast<double>(sum.requests);
    }
    told.push_back(std::move(sum));
  }
  return told;
}

}  // namespace dualmesh::node
