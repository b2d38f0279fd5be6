// KvIngest: the thread on which all knowledge of caches is made, and the only door to it.
//
//   engines -> ZmqSubscriptions -> KvObservation --+
//                                                  +-> KvState -> BlockIndex -> requests (any
//                                                  thread)
//   other nodes -> mesh thread -> KvExchange ------+      |
//   other nodes <- mesh thread <- KvExchange <------------+
//
// It subscribes to the streams of which this node is an observer, and to others no longer.
//
// Invariant: whatever engines and peers send, memory stays within KvLimits, what KvOutbox holds and
// 64 MiB of received messages; a turn of the loop is bounded, so everybody is served.
// Threads: construct and destroy on main; KvPort on the mesh thread; the rest from any.
#pragma once

#include <functional>
#include <memory>

#include "node/kv/kv_answers.h"
#include "node/kv/kv_report.h"
#include "node/mesh/kv_port.h"
#include "policies/fleet_view.h"

namespace dualmesh::node {

struct KvIngestSettings {
  crdt::NodeId self;
  KvLimits limits;
  KvExchangeSettings exchange;
  policies::Duration join_timeout = std::chrono::seconds(10);
};

class KvIngest final : public KvPort {
 public:
  // `waiting`: the mesh thread may fetch a message. `published`: each report, with the view it is
  // about. Both on the ingest thread, and must return at once.
  using View = std::shared_ptr<const policies::FleetView>;
  KvIngest(KvIngestSettings settings, std::function<void()> waiting,
           std::function<void(const KvReport&, const View&)> published);
  ~KvIngest() override;

  // Ends the thread. The rest may be called on: nothing comes of it.
  void stop();

  void set_view(View view);
  void missed(std::string instance);  // KvCore's
  void was_away(std::string instance);
  const policies::BlockIndex& index() const;
  const policies::RemovalMarks& removals() const;
  std::shared_ptr<const KvReport> report() const;
  void cut(const StreamKey& stream, std::function<void(std::shared_ptr<const StreamCut>)> done);
  void step_times(const StreamKey& stream, std::function<void(std::vector<KvStepTime>)> done);

  void kv_peers(std::vector<KvPeerLife> living) override;
  void kv_received(crdt::NodeId from, std::string message) override;
  std::string kv_take(crdt::NodeId to) override;
  bool kv_ready(std::string& why_not) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::node
