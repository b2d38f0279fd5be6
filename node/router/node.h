// Node: one router node, whole. The constructor and the order of the members are the architecture:
//
//   clients -> HttpServer -> FrontDoor -> RequestFlow -> SharedScheduler -> instances
//                                             |  SharedResidency   ^
//                        InstanceMonitor -----+-- InstanceHealth --+ verdicts
//                        Discovery -> MeshThread <-> other nodes   | views
//                                        +---- MeshHost -----------+
//         engines' KV events -> NodeKv <-> other nodes' caches; what is cached where -> RequestFlow
//
// The client listener opens when the mesh says that this node is ready, and closes for good when
// draining begins: clients that came by DNS ask nobody else whether a node may be used.
//
// Invariant: after draining has stopped, nothing is held: live_requests() is zero.
// Threads: start and destroy on main; the rest from any thread. MeshHost and AdminHost are called
// on the mesh thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "net/destination.h"
#include "net/http_server.h"
#include "node/mesh/mesh_thread.h"
#include "node/router/config.h"
#include "node/access/access_log.h"
#include "node/identity/tenants.h"
#include "node/router/discovery.h"
#include "node/router/front_door.h"
#include "node/router/instance_health.h"
#include "node/router/instance_monitor.h"
#include "node/router/listener_certificate.h"
#include "node/router/node_kv.h"
#include "node/router/node_metrics.h"
#include "node/router/request_flow.h"
#include "node/router/shared_residency.h"
#include "node/router/shared_scheduler.h"

namespace dualmesh::node {

class Node final : private MeshHost, private AdminHost {
 public:
  // Fails when the mesh address cannot be bound, the state directory or a certificate not be read.
  static net::Result<std::unique_ptr<Node>> start(Config config);
  ~Node() override;

  // Stops accepting, lets what is in flight finish, leaves the mesh; then `stopped`. Idempotent.
  void drain() override;
  // Waits at most so long; true once the node has stopped, drained or unable to serve.
  bool wait_stopped(std::chrono::milliseconds at_most);
  int exit_status() const { return exit_status_.load(); }

  bool ready() const;
  // 0 until the listener is open, or when there is none.
  std::uint16_t http_port() const { return http_port_.load(); }
  std::uint16_t https_port() const { return https_port_.load(); }
  std::uint16_t mesh_port() const;
  std::uint64_t live_requests() const { return flow_.live_requests(); }
  net::ServerStats http_stats() const { return server_.stats(); }
  std::string dump_state();
  // The access log's file is opened anew, and the tenants' read if it has changed.
  void look_at_files();

 private:
  Node(Config config, std::unique_ptr<AccessLog> access_log);
  net::Result<void> join_mesh();

  // MeshHost
  void take_local_changes(LocalChanges& out) override;
  void view_changed(ViewPointer view) override;
  void placements_learned(policies::Slot slot, std::span<const policies::BlockKey> blocks) override;
  void readiness_changed(bool ready, const std::string& why_not) override;

  // AdminHost
  HostStatus status() override;
  policies::SchedulerTotals totals() override;
  std::vector<policies::QueueSnapshot> queues() override;
  InstanceFacts facts(policies::Slot slot) override;
  std::vector<policies::DecisionRecord> decisions(std::size_t last) override;
  void explain(const std::string& path, std::string body, Explained done) override;
  std::string metrics() override;
  KnownClients clients() override;
  policies::Time now() override { return scheduler_.now(); }
  KvAnswers* kv() override { return &kv_; }

  Explanation explanation_of(const policies::Arrival& arrival, const RankChoices& ranks,
                             const policies::FleetView& view);
  std::string identity_metrics() const;
  void use_weights(const std::vector<std::string>& of_tenants);
  void wake_mesh();
  void cache_lost(policies::Slot slot);
  void health_changed(policies::Slot slot, bool healthy);  // by the probes
  void open_listeners();
  bool open_listener(const std::string& listen, net::Transport transport,
                     std::atomic<std::uint16_t>& opened);
  net::Result<void> open_certificate();
  void watch_certificate();
  std::optional<CertificateState> certificate_state() const;
  void begin_draining();
  void tick();
  void check_drained();
  void leave_mesh();
  void stopped(int exit_status);
  FrontDoor::Settings front_door_settings();
  std::string not_ready_reason() const;
  Readiness readiness();
  void tell_wrong_protocols();

  const std::vector<std::string> own_weights_;  // without those of tenants
  const Config config_;
  const std::unique_ptr<AccessLog> access_log_;  // null: none is kept; outlives every request
  AnswerCounts answers_of_nobody_;               // outlives every request, too
  net::IoThreads io_threads_;
  SharedScheduler scheduler_;
  SharedResidency residency_;
  InstanceHealth health_;
  InstanceMonitor monitor_;
  RequestFlow flow_;
  std::atomic<MeshThread*> mesh_ready_{nullptr};  // mesh_, once it may be called
  Tenants tenants_;
  FrontDoor front_door_;
  net::HttpServer server_;
  // Clients that spoke TLS where there is none, or the reverse; as the log has told. By the tick.
  struct {
    std::uint64_t tls = 0, plain_text = 0;
    policies::Time next{};
  } wrong_;
  std::unique_ptr<ListenerCertificate> certificate_;  // null: no TLS
  Discovery peers_;
  Discovery instances_;
  NodeKv kv_;
  std::unique_ptr<MeshThread> mesh_;

  mutable std::mutex mutex_;  // guards the next four; taken alone
  std::condition_variable changed_;
  std::string why_not_ready_ = "not joined yet";
  std::vector<std::pair<policies::Slot, bool>> untold_health_;
  bool stopped_ = false;

  std::atomic<bool> ready_{false};
  std::atomic<bool> draining_{false};
  std::atomic<int> exit_status_{0};
  std::atomic<std::uint16_t> http_port_{0};
  std::atomic<std::uint16_t> https_port_{0};

  // Of the last view; on the mesh thread only.
  policies::ChainParameters chain_;
  std::optional<std::uint64_t> roster_;

  // On I/O thread 0 only.
  net::IoThread::Timer tick_timer_;
  net::IoThread::Timer certificate_timer_;
  bool listening_ = false;
  bool aborted_ = false;
  bool leaving_ = false;
  bool left_ = false;
  bool was_idle_ = false;  // at the last look while draining
  policies::Time drain_until_{};
  policies::Time idle_told_at_{};  // kept-alive connections have been closed by then
};

}  // namespace dualmesh::node
