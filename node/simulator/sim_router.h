// SimRouter: one router node in virtual time: the node's own Scheduler, ResidencyIndex, SharedState
// and FleetViewBuilder, without its sockets, threads and links.
//
//   own changes -> SharedState (own feeds) -> take_news -> deltas, for whoever carries them
//   deltas of others -> receive -> SharedState -> FleetView -> Scheduler
//
// Invariant: it sees of the other routers what was delivered to it, nothing else.
// Threads: none; time is an argument.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "node/mesh/fleet_view_builder.h"
#include "node/mesh/registry.h"
#include "node/mesh/shared_state.h"
#include "node/simulator/speculation.h"
#include "policies/residency_index.h"
#include "policies/scheduler.h"

namespace dualmesh::node {

// What routers know of the instances' caches.
enum class CacheSight {
  predicted,  // what was placed where, by any router
  exact,      // the engines' events, and what this router placed just now
  blind,      // nothing
};

struct SimRouterSettings {
  policies::SchedulerSettings scheduler;
  policies::ResidencyIndex::Limits residency;
  std::vector<SeedInstance> instances;
  CacheSight caches = CacheSight::predicted;
  const CacheEvents* events = nullptr;  // where caches are seen exactly
};

// What a router has to tell all others.
struct SimNews {
  crdt::Origin sender;
  std::vector<net::StreamDelta> load;       // load, status, depth marks
  std::vector<net::StreamDelta> residency;  // cache knowledge
};

class SimRouter final : private StateObserver {
 public:
  SimRouter(const SimRouterSettings& settings, std::size_t number, std::uint64_t seed);

  crdt::Origin self() const { return state_.self(); }
  const crdt::Member& member() const { return state_.self_member(); }
  void met(crdt::NodeId node, const crdt::Member& member);

  const policies::FleetView& view() const { return *view_; }
  policies::Scheduler& scheduler() { return scheduler_; }
  const policies::Scheduler& scheduler() const { return scheduler_; }

  // Hits of the arrival's chain, as this router knows them.
  void look_up(policies::Arrival& arrival, policies::Time now) const;
  // A request with these blocks was placed there, by this router.
  void placed(policies::Slot slot, std::span<const policies::BlockKey> blocks, policies::Time now);
  // An event says that the instance has stored this block.
  void heard(policies::Slot slot, policies::BlockKey block) { speculation_.heard(slot, block); }

  // Nothing to tell: both lists are empty.
  SimNews take_news(policies::Time now);
  void receive(std::span<const net::StreamDelta> deltas, crdt::Origin sender, policies::Time now);

  // Something that routing can see has changed since the last refresh.
  bool view_stale() const { return view_stale_; }
  void refresh_view(policies::Time now, policies::Effects& effects);
  void housekeep(policies::Time now);

  // What an administrator says here. An instance that will join later is absent until then.
  void absent(std::size_t instance);
  void announce(std::size_t instance, bool joins, policies::Time now);  // or drains
  void probed(policies::Slot slot, bool healthy, policies::Time now, policies::Effects& effects);
  void lost(crdt::NodeId node, crdt::Member member);

 private:
  void member_grew(crdt::NodeId, const crdt::Member&) override { view_stale_ = true; }
  void field_grew(const net::FieldKey&) override { registry_stale_ = view_stale_ = true; }
  void setting_grew(const net::SettingKey&) override { view_stale_ = true; }
  void depth_grew() override { view_stale_ = true; }
  void load_grew(crdt::NodeId, const net::LoadFeed::Delta&) override { view_stale_ = true; }
  void health_grew(crdt::NodeId) override { view_stale_ = true; }
  void status_grew(crdt::NodeId) override { view_stale_ = true; }
  void placements_grew(const net::ResidencyFeed::Delta& delta) override;
  void own_feed_grew(Urgency) override {}

  static std::uint64_t wall_ms(policies::Time now);
  void count_held(std::span<const policies::BlockKey> blocks, policies::Time now,
                  std::vector<std::uint32_t>& hits) const;

  MeshConfig config_;
  SharedState state_;
  Registry registry_;
  FleetViewBuilder builder_;
  policies::Scheduler scheduler_;
  const CacheSight caches_;
  const CacheEvents* const events_;
  policies::ResidencyIndex index_;  // predicted
  Speculation speculation_;         // beside what is exact
  std::shared_ptr<const policies::FleetView> view_;
  bool registry_stale_ = true;
  bool view_stale_ = true;
  bool meshed_ = false;  // there are others
  Acknowledged told_;    // all others, as nothing gets lost
  policies::Time latest_{};
  std::vector<policies::BlockKey> batch_;
};

}  // namespace dualmesh::node
