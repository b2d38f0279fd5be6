// NodeKv: the knowledge of caches in a node: KvIngest, what decisions see of it, and what
// administrators may ask.
//
//   MeshThread (views, messages) <-> KvIngest -> KvReport -> KvView -> CacheKnowledge -> requests
//
// Threads: construct, stop and destroy on main; view_changed and port() for the mesh thread; the
// rest from any.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/kv/kv_answers.h"
#include "node/kv/kv_ingest.h"
#include "node/router/config.h"
#include "node/router/request_flow.h"

namespace dualmesh::node {

class NodeKv final : public KvAnswers {
 public:
  // `waiting`: the mesh may have a message to fetch. Any thread.
  NodeKv(const Config& config, RequestFlow& flow, std::function<void()> waiting);

  void view_changed(ViewPointer view);
  void missed(const policies::FleetView& view, policies::Slot slot) {
    if (slot < view.instances.size()) ingest_.missed(view.instances[slot].name);
  }
  void was_away(std::string instance) { ingest_.was_away(std::move(instance)); }
  KvPort& port() { return ingest_; }
  std::string metrics() const;
  // The thread ends; the port may be called on and says nothing more. Nothing is called afterwards.
  void stop() { ingest_.stop(); }

  std::shared_ptr<const KvReport> kv_report() const override { return ingest_.report(); }
  std::vector<KvPredictionReport> kv_predictions() const override;
  void kv_cut(const StreamKey& stream,
              std::function<void(std::shared_ptr<const StreamCut>)> done) override {
    ingest_.cut(stream, std::move(done));
  }
  void kv_step_times(const StreamKey& stream,
                     std::function<void(std::vector<KvStepTime>)> done) override {
    ingest_.step_times(stream, std::move(done));
  }

 private:
  RequestFlow& flow_;
  // On the ingest thread only: what the view published last was made from.
  std::uint64_t generation_ = 0;
  ViewPointer fleet_;

  KvIngest ingest_;  // last: it calls publish
};

}  // namespace dualmesh::node
