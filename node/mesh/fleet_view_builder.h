// FleetViewBuilder: replicated state in, immutable FleetView out.
//
// Rings are kept per model and built again only when their members, weights or parameters changed;
// load, depth and settings are read afresh for every view. Slots are given at first sight of an
// instance and never reused.
//
// Invariant: everything but `generation` and the slot numbers is a pure function of the replicated
// state and of who is alive, so nodes with equal state route by equal views.
// Threads: none; the mesh thread's. The views it makes may go anywhere.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "node/mesh/mesh_config.h"
#include "node/mesh/registry.h"
#include "node/mesh/ring_generation.h"
#include "node/mesh/shared_state.h"
#include "policies/fleet_view.h"

namespace dualmesh::node {

inline constexpr const char* kPolicySetting = "policy";
inline constexpr const char* kWeightsSetting = "client_weights";

class FleetViewBuilder {
 public:
  explicit FleetViewBuilder(const MeshConfig& config)
      : config_(config),
        parameters_(configured_parameters(config)),
        configured_weights_(config.routing.client_weights),
        weights_(config.routing.client_weights) {}

  void set_configured_weights(policies::ClientWeights weights) {
    configured_weights_ = std::move(weights);
    weights_ = configured_weights_.overlaid(set_weights_);
  }
  const policies::ClientWeights& configured_weights() const { return configured_weights_; }
  // The registry moved: reads it before the next view. Returns the instances seen for the first
  // time.
  std::vector<policies::InstanceId> read_registry(const Registry& registry);
  // What nodes `unheard` of said of load and health is left out: better no word than an old one.
  using Nodes = std::set<crdt::NodeId>;
  std::shared_ptr<const policies::FleetView> build(const SharedState& state,
                                                   std::uint64_t depth_bucket,
                                                   policies::Time now = {},
                                                   const Nodes& unheard = {});

  policies::Slot slot_of(policies::InstanceId id) const;
  // Instances by slot, as of the last read_registry; load is not filled in.
  const std::vector<policies::InstanceView>& instances() const { return instances_; }

 private:
  struct RingMembers {
    std::vector<policies::RingMember> members;  // what the model's rings were built from
    policies::ModelView view;
  };

  void rebuild_models();
  void read_settings(const SharedState& state, policies::RoutingSettings& settings);
  // When we were first told a row of a node: what it says of the time left runs out from then on,
  // however often the same row is said again. Prefills that are overdue stay so when the row says
  // something new of other requests: an engine that has lost one must not be left to it for as long
  // as its node has other things to tell.
  struct Told {
    crdt::Version version;
    policies::Time at{};
    policies::Time busy_until{};
    std::uint32_t prefilling_requests = 0;
    std::uint64_t prefilling_tokens = 0;
  };
  struct Heard {
    crdt::Epoch epoch;
    std::vector<Told> rows;  // by slot
  };
  static void hear(Told& told, crdt::Version version, const net::LoadGauges& gauges,
                   policies::Time now);
  void add_others(const SharedState& state, policies::Time now, const Nodes& unheard,
                  policies::FleetView& view);
  void read_agreement(const SharedState& state, const Nodes& unheard, policies::FleetView& view);
  // What is known of one peer; its address stays for its life.
  struct PeerSource {
    crdt::NodeId node;
    crdt::Epoch epoch;
    crdt::Version health;
    bool operator==(const PeerSource&) const = default;
  };
  std::shared_ptr<const policies::Peers> read_peers(const SharedState& state,
                                                    std::vector<PeerSource> sources);
  std::shared_ptr<const policies::DepthMarks> read_depth(const SharedState& state,
                                                         std::uint64_t bucket);

  const MeshConfig& config_;
  policies::RoutingParameters parameters_;  // the models' rings are of these
  std::uint64_t generation_ = 0;
  std::uint64_t roster_ = 0;
  boost::unordered_flat_map<policies::InstanceId, policies::Slot> slots_;
  std::vector<policies::InstanceView> instances_;
  std::map<std::string, RingMembers> models_;
  std::uint64_t ring_digest_ = 0;
  policies::ClientWeights configured_weights_;
  std::string weights_text_;             // what set_weights_ were read from
  policies::ClientWeights set_weights_;  // by administrators, in the whole mesh
  policies::ClientWeights weights_;      // configured_weights_, and set_weights_ over them
  std::shared_ptr<const policies::DepthMarks> depth_;
  crdt::StateDigest depth_source_;  // what depth_ was read from
  std::shared_ptr<const policies::Peers> peers_ = policies::FleetView::no_peers();
  std::vector<PeerSource> peer_sources_;  // what peers_ were read from, with so many slots known
  std::size_t peer_slots_ = 0;
  std::uint64_t depth_bucket_ = 0;
  std::map<crdt::NodeId, Heard> told_;  // of the nodes that have a column of loads
};

}  // namespace dualmesh::node
