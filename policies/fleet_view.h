// FleetView: everything a node's scheduler knows from outside itself, as one immutable value.
//
// Built by the mesh side from replicated state and swapped in whole. It holds *others'* load only:
// a node's own load is live inside its scheduler, so nothing is counted twice. Rings are a pure
// function of replicated state; health is local to the scheduler and never in here.
//
// Threads: immutable after publication; share by shared_ptr<const FleetView>.
// Source: Envoy's thread-aware load balancers (main thread builds, workers only read).
#pragma once

#include <boost/container/flat_map.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <memory>
#include <string>
#include <vector>

#include "policies/client_weights.h"
#include "policies/load.h"
#include "policies/ring.h"
#include "policies/time.h"
#include "policies/turns.h"

namespace dualmesh::policies {

enum class Lifecycle : std::uint8_t { active, draining, removed };

struct InstanceView {
  InstanceId id = 0;
  Slot slot = kNoSlot;
  std::string name;
  std::string address;  // host:port of its OpenAI API
  double weight = 1.0;
  Lifecycle lifecycle = Lifecycle::removed;
  std::vector<std::string> models;
  std::string kv_events;                // where its engine publishes them; empty: nowhere
  Load others;                          // sum over the other live nodes
  std::uint32_t others_queueing = 0;    // how many other nodes queue for it
  Time others_busy_until{};             // their prefills should be done then
  std::vector<Waiting> others_waiting;  // by due time; the first of each other node
  double prefill_s_per_token = 0.0;     // fixed by configuration; 0 = learn
};

// Another node that takes clients' requests.
struct PeerView {
  std::string name;
  std::string http_address;   // host:port for clients
  std::vector<Slot> reaches;  // ascending; the instances that answer its probes
};

using Peers = std::vector<PeerView>;

struct ModelView {
  std::string name;
  std::vector<Slot> active;   // by name; the ring members
  std::vector<Slot> serving;  // active and draining
  Ring ring_a;
  Ring ring_b;
  std::uint64_t ring_digest = 0;
};

// Prefix keys whose traffic is hot enough to be hashed one block deeper (policies/depth_table.h).
struct DepthMarks {
  boost::unordered_flat_map<BlockKey, std::uint32_t> deeper;  // key of d blocks -> depth to go to
  std::uint64_t digest = 0;                                   // order-independent over the marks
};

struct RoutingSettings {
  std::string policy = "dualmesh";
  std::string queue;  // name of an order; empty: the policy's own
  double slo_ttft_s = 5.0;
  ClientWeights client_weights;  // for the orders that share service out

  bool operator==(const RoutingSettings&) const = default;
};

// What decides where a request goes, equal on all nodes; changed as a whole, by a new generation.
struct RoutingParameters {
  std::uint32_t generation = 1;
  ChainParameters chain;
  RingParameters ring;

  bool operator==(const RoutingParameters&) const = default;
};

struct FleetView {
  std::uint64_t generation = 0;
  std::uint64_t roster = 0;  // another one when the instances are others, not only their loads
  std::vector<InstanceView> instances;  // by slot; slots never seen have kNoSlot
  boost::container::flat_map<std::string, ModelView> models;
  std::shared_ptr<const DepthMarks> depth;  // marks shared by the mesh; null when alone
  RoutingSettings settings;
  RoutingParameters parameters;   // of the highest generation known
  ChainParameters chain;          // what prompts are cut with; keys of two generations never meet
  std::uint64_t ring_digest = 0;  // over all models
  bool rings_agree = true;        // every live node last reported this ring digest
  std::uint32_t live_nodes = 1;   // this one included
  std::shared_ptr<const Peers> peers = no_peers();  // the others of them that are ready, by name

  static const std::shared_ptr<const Peers>& no_peers() {
    static const auto none = std::make_shared<const Peers>();
    return none;
  }
};

}  // namespace dualmesh::policies
