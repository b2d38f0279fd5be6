// The two sides of the border between a node's request path and its mesh, without kj in sight.
//
// MeshHost is what the mesh asks of the node: its own changes, taken on each flush, and a place for
// what the mesh has learned. AdminHost answers the administrators' questions that only the request
// path can answer. Both are implemented by node/router and by tests.
//
// Threads: called on the mesh thread. Implementations lock what they share with the I/O threads and
// return quickly: nothing here may wait for a network or another thread's work.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "net/error.h"
#include "policies/scheduler.h"

namespace dualmesh::node {

struct LocalPlacement {
  policies::Slot slot = policies::kNoSlot;
  std::vector<policies::BlockKey> blocks;
};

// A node's own news since the last flush; absolute values, so that only the newest matters.
struct LocalChanges {
  std::vector<std::pair<policies::Slot, policies::Load>> loads;
  std::vector<std::pair<policies::Slot, bool>> health;
  std::vector<LocalPlacement> placements;
  std::vector<policies::DepthProposal> depth;

  bool any() const {
    return !loads.empty() || !health.empty() || !placements.empty() || !depth.empty();
  }
};

class MeshHost {
 public:
  virtual ~MeshHost() = default;

  virtual void take_local_changes(LocalChanges& out) = 0;
  // The scheduler must have read the view when this returns: propagation is measured up to here.
  virtual void view_changed(std::shared_ptr<const policies::FleetView> view) = 0;
  // Blocks that other nodes placed at `slot`, the most recently used first; of two calls the later
  // brings the more recent. They age from now on: what has expired elsewhere is not taken back.
  virtual void placements_learned(policies::Slot slot,
                                  std::span<const policies::BlockKey> blocks) = 0;
  // Joined and synchronised (or alone by configuration), or not (any more) and why.
  virtual void readiness_changed(bool ready, const std::string& why_not) = 0;
};

struct InstanceFacts {  // what only the request path knows of an instance
  bool healthy = true;
  std::string unhealthy_reason;
  std::uint64_t resident_blocks = 0;
  std::string tokens_lacking;      // of which prompts it tells none, in words; empty: all
  std::uint32_t engine_ranks = 0;  // data-parallel ranks of which its metrics tell; 0: not known
};

struct HostStatus {
  std::uint64_t held_body_bytes = 0;
  std::uint64_t open_connections = 0;
  bool draining = false;
  std::vector<std::string> panicking_models;
};

struct Explanation {
  policies::DecisionRecord decision;
  struct Hit {
    policies::Slot slot = policies::kNoSlot;
    std::uint32_t tokens = 0;
    std::uint32_t block_tokens = 0;  // of the blocks that were matched; 0: not known
    policies::HitSource source = policies::HitSource::predicted;
    std::uint32_t ranks = 0;            // that publish events
    std::optional<std::uint32_t> rank;  // where it would be sent; nothing: where the engine likes
  };
  std::vector<Hit> hits;  // every instance of the model
};

// Who may ask, as this node's configuration says.
struct KnownClients {
  bool anybody = true;               // no key is asked for
  std::vector<std::string> tenants;  // names
  std::vector<std::uint64_t> keys;   // policies::client_key of API keys without a tenant
};

class KvAnswers;

class AdminHost {
 public:
  virtual ~AdminHost() = default;

  virtual HostStatus status() = 0;
  virtual policies::SchedulerTotals totals() = 0;
  virtual std::vector<policies::QueueSnapshot> queues() = 0;
  virtual InstanceFacts facts(policies::Slot slot) = 0;
  virtual std::vector<policies::DecisionRecord> decisions(std::size_t last) = 0;
  // `done` is called once, here or on another thread: an instance may be asked for the tokens
  // first.
  using Explained = std::function<void(net::Result<Explanation>)>;
  virtual void explain(const std::string& path, std::string body, Explained done) = 0;
  virtual std::string metrics() = 0;  // Prometheus text of the request path; the mesh adds its own
  virtual void drain() = 0;
  virtual KnownClients clients() { return {}; }
  virtual KvAnswers* kv() { return nullptr; }  // null: it follows no caches
  virtual policies::Time now() = 0;            // the clock of DecisionRecord::at
};

}  // namespace dualmesh::node
