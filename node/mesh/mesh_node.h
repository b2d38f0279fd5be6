// MeshNode: one node's whole mesh half, without threads or sockets: what MeshThread runs in
// production and what the simulation runs by the dozen in virtual time.
//
//   local changes -> SharedState (own feeds) -> Replicator per peer -> push
//   pushes of others -> SharedState -> FleetView -> MeshHost
//
// Every change that routing can see leads to a new view: at once for the first, then at most one
// each 5 ms. Whatever takes long is cut: pushes by bytes, placements by batches.
//
// Threads: kj; every call on the thread of its event loop. Timer, network, clocks and seed are
// parameters.
#pragma once

#include <kj/async-io.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "net/mesh_acceptor.h"
#include "net/mesh_refusals.h"
#include "node/mesh/fleet_view_builder.h"
#include "node/mesh/kv_courier.h"
#include "node/mesh/latency_histogram.h"
#include "node/mesh/mesh_context.h"
#include "node/mesh/mesh_host.h"
#include "node/mesh/mesh_peers.h"
#include "node/mesh/pacer.h"
#include "node/mesh/partition.h"
#include "node/mesh/readiness.h"
#include "node/mesh/registry.h"
#include "node/mesh/registry_collector.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

struct MeshEnvironment {
  kj::Timer& timer;
  net::Dialer& dialer;
  std::function<std::uint64_t()> wall_ms;
  std::function<std::uint64_t()> monotonic_ns;
  std::uint64_t seed = 1;
  KvPort* kv = nullptr;  // none: messages about caches are dropped
};

struct RingChangeSeen {
  std::uint64_t digest = 0;
  std::uint64_t at_ns = 0;
};

struct BeaconRecord {
  crdt::NodeId node;
  std::uint64_t value = 0;
  std::uint64_t at_ns = 0;
};

class MeshNode final : private StateObserver,
                       private PeersObserver,
                       private kj::TaskSet::ErrorHandler {
 public:
  // `config.advertise` must be set: the address peers dial.
  MeshNode(MeshConfig config, MeshEnvironment environment, MeshHost& host, AdminHost& admin);
  ~MeshNode() noexcept override;

  // Before start: what the node's disk had.
  void restore(const net::RegistryTable::Delta& registry,
               const net::SettingsTable::Delta& settings);
  // Told, with true, just before the host's changes are taken: what comes later has to be said
  // again; and with false when it need not, as this node looks again by itself.
  void on_taking_changes(std::function<void(bool)> taking) { taking_ = std::move(taking); }
  void on_saveable_change(std::function<void()> saveable) { saveable_ = std::move(saveable); }
  void start();

  // `from` is for people; null certificate: without TLS.
  void accept(kj::Own<kj::AsyncIoStream> stream, std::string from = "a peer",
              std::shared_ptr<const net::MeshCertificate> certificate = nullptr);
  void certificate_in_use(std::int64_t expires_s) { certificate_expires_s_ = expires_s; }
  void local_changes();  // MeshHost has some
  void kv_waiting() { courier_.waiting(); }
  void peers_found(std::vector<std::string> addresses);
  void instances_found(const std::vector<SeedInstance>& instances);
  void models_found(const std::string& instance, const std::vector<std::string>& models);
  void set_draining();
  void set_configured_weights(policies::ClientWeights weights);
  void leave(std::uint32_t timeout_ms, std::function<void()> done);

  // Administration, on the mesh thread.
  net::Result<void> change(const SeedInstance& instance);
  net::Result<void> change(const std::string& instance, policies::Lifecycle lifecycle);
  net::Result<void> set_policy(const std::string& policy);
  // Weights set for the whole mesh; clients without have those of each node's configuration.
  // `weights`: #KEY=WEIGHT,... (policies/client_weights.h). First those of `cleared`, or all, go.
  struct WeightChange {
    std::string weights;
    std::vector<std::uint64_t> cleared;
    bool clear_all = false;
  };
  net::Result<void> change_client_weights(const WeightChange& change);
  policies::ClientWeights client_weights_set() const;
  const policies::ClientWeights& configured_client_weights() const {
    return builder_.configured_weights();
  }
  std::uint64_t set_beacon(std::uint64_t value);  // CLOCK_MONOTONIC ns of the write

  // Looking in.
  const MeshConfig& config() const { return config_; }
  MeshContext& context() { return context_; }
  std::uint64_t wall_ms() const { return context_.wall_ms(); }
  SharedState& state() { return state_; }
  const SharedState& state() const { return state_; }
  // Its name; its id, in hex, where nobody has told of it.
  std::string name_of(crdt::NodeId id) const;
  const Registry& registry() const { return registry_; }
  // Wall time through which removed instances have been collected; 0: none ever.
  std::uint64_t collection_horizon_ms() const { return state_.horizon().wall_ms(); }
  MeshPeers& peers() { return peers_; }
  const MeshPeers& peers() const { return peers_; }
  KvCourier& courier() { return courier_; }
  const KvCourier& courier() const { return courier_; }
  AdminHost& admin_host() { return admin_; }
  const std::shared_ptr<const policies::FleetView>& view() const { return view_; }
  bool ready() const { return ready_; }
  const std::string& why_not_ready() const { return why_not_; }
  bool draining() const { return draining_; }
  PartitionState partition() const;
  // Since when a member is in its present status, as this node learned it.
  policies::Time status_since(crdt::NodeId node) const;
  policies::Time now() const { return context_.now(); }
  policies::Duration uptime() const { return context_.now() - started_; }
  const std::deque<RingChangeSeen>& ring_changes() const { return ring_changes_; }
  const std::deque<BeaconRecord>& beacons() const { return beacons_; }
  const LatencyHistogram& agreement() const { return agreement_; }
  std::uint64_t views_published() const { return views_published_; }
  std::uint64_t refutations() const { return refutations_; }  // accusations answered
  std::uint64_t epoch_raises() const { return epoch_raises_; }
  // Unix time at which this node's certificate expires; nothing without TLS.
  std::optional<std::int64_t> certificate_expires_s() const { return certificate_expires_s_; }
  const net::MeshAcceptor& acceptor() const { return acceptor_; }
  net::Refusals& refusals() { return refusals_; }
  const net::Refusals& refusals() const { return refusals_; }

 private:
  static constexpr std::uint64_t kMaxEpochRaises = 8;  // then the name is in use elsewhere

  void member_grew(crdt::NodeId node, const crdt::Member& member) override;
  void field_grew(const net::FieldKey& key) override;
  void setting_grew(const net::SettingKey& key) override;
  net::Result<void> set(const char* setting, const std::string& text);
  void depth_grew() override;
  void load_grew(crdt::NodeId writer, const net::LoadFeed::Delta& delta) override;
  void health_grew(crdt::NodeId writer) override;
  void status_grew(crdt::NodeId writer) override;
  void placements_grew(const net::ResidencyFeed::Delta& delta) override;
  void own_feed_grew(Urgency urgency) override;
  void peers_changed() override;
  void unheard_changed() override;
  void epoch_known(crdt::Epoch epoch) override;
  void taskFailed(kj::Exception&& exception) override;

  void refute(const crdt::Member& accused);
  policies::Time next_taking() const;
  void take_local_changes_at(policies::Time due);
  void take_local_changes();
  void view_stale();
  void publish_view();
  void note_view(const policies::FleetView& view);
  void note_generation(const policies::FleetView* before, const policies::FleetView& now);
  void seen_first(const std::vector<policies::InstanceId>& instances);
  void hand_over_column(crdt::Origin writer, policies::InstanceId instance, crdt::Version from);
  void set_load(policies::Slot slot, policies::InstanceId id, const net::LoadGauges& gauges);
  void replicate(Urgency urgency);
  void judge_ready();
  ReadinessFacts readiness_facts() const;
  void note_living();
  bool kv_ready(std::string& why_not);
  void note_partition();
  void expire_placements();
  void housekeep();
  void note_clock();

  MeshConfig config_;
  MeshHost& host_;
  AdminHost& admin_;
  net::Refusals refusals_;
  MeshContext context_;
  SharedState state_;
  Registry registry_;
  MeshPeers peers_;
  KvCourier courier_;
  RegistryCollector collector_;
  FleetViewBuilder builder_;
  Partition partition_;
  struct StatusSince {
    crdt::MemberStatus status;
    policies::Time since;
  };
  std::map<crdt::NodeId, StatusSince> status_since_;  // of the members
  std::size_t unreachable_told_ = 0;
  std::int64_t most_ahead_ms_ = 0;  // of wall time before the monotonic clock, while it matters
  std::function<void()> saveable_;
  std::function<void(bool)> taking_;

  std::shared_ptr<const policies::FleetView> view_;
  Pacer view_pacer_;
  Pacer local_pacer_;
  bool view_waiting_ = false;
  bool local_waiting_ = false;  // the next taking has its timer
  bool looks_again_ = false;    // it is one that nobody asked for
  bool replicate_waiting_ = false;
  Urgency urgency_ = Urgency::slight;  // of the changes since the last replicate
  bool registry_stale_ = true;
  bool expiring_ = false;                        // the next piece is due
  std::set<policies::InstanceId> without_slot_;  // placements seen before the instance was
  std::map<crdt::NodeId, std::uint64_t> beacons_pending_;

  policies::Time started_{0};
  bool running_ = false;
  bool joined_ = false;         // ready as far as the mesh goes
  bool knows_members_ = false;  // has been so once
  bool asking_kv_ = false;
  bool ready_ = false;
  bool told_ready_ = false;
  std::string why_not_;
  bool draining_ = false;
  bool leaving_ = false;

  std::deque<RingChangeSeen> ring_changes_;
  std::deque<BeaconRecord> beacons_;
  std::optional<policies::Time> disagreeing_since_;
  LatencyHistogram agreement_;
  std::uint64_t views_published_ = 0;
  std::uint64_t refutations_ = 0;
  std::uint64_t epoch_raises_ = 0;
  std::optional<std::int64_t> certificate_expires_s_;

  kj::TaskSet tasks_;
  net::MeshAcceptor acceptor_;  // last: its connections call into all of the above
};

}  // namespace dualmesh::node
