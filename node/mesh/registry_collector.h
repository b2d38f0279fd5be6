// RegistryCollector: removed instances leave the registry once everybody has applied the removal.
//
// The registry holds a horizon H, a stamp that only grows, as a row of its own (kHorizonRow).
//  - A name that is removed, and of which nobody has said anything after H, is dropped where H is
//    adopted. What a configuration or a look-up said has no time and keeps its name.
//  - H is raised when that drops something, by the living node with the lowest id, to
//    collection_horizon_s before now, and only when every living node has been seen to hold the
//    same registry as this one does now, and those are most of all that have neither left nor been
//    dead for dead_count_s: what a few did not hear while they were cut off must not count as
//    collected. Nor while the clock of one is a minute off: the horizon may lie after words that
//    are under way. A few that start again know of no others; so the node must have met, since its
//    start, most of its seeds and of what look-ups list, itself counted. (Two that start again
//    behind a cut with no seeds but each other are not told from a mesh of two.)
//  - The row of H says what a registry holds through H, as a digest. Whoever hears of it and holds
//    that adopts H. Whoever holds anything else was away for longer than the horizon, or hears the
//    words of one that was: it takes the whole registry from the node that told it, and drops what
//    it alone held through H. What it was told after H stays.
//  - Words through H that are news to a node at H are refused, and counted as below the horizon.
//
// A file in state_dir holds H as well, so an old file is a node that was away. A removed name that
// is no longer remembered may be used again by a configuration that still lists it.
//
// Invariant: nodes with the same H hold the same rows through H, but for those with newer words.
// Threads: kj; the mesh thread's. Source: causal stability, Baquero, Almeida, Shoker 2014.
#pragma once

#include <kj/async.h>

#include <functional>
#include <utility>

#include "node/mesh/mesh_context.h"
#include "node/mesh/mesh_peers.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

class RegistryCollector final : private kj::TaskSet::ErrorHandler {
 public:
  // Since when a member is in its present status.
  using StatusSince = std::function<policies::Time(crdt::NodeId)>;
  RegistryCollector(MeshContext& context, SharedState& state, const MeshPeers& peers,
                    StatusSince status_since)
      : context_(context),
        state_(state),
        peers_(peers),
        status_since_(std::move(status_since)),
        tasks_(*this) {}

  void tick();  // at a slow pace

 private:
  void raise();
  bool all_hold_ours() const;
  bool counts_as_dead(crdt::NodeId node, const crdt::Member& member) const;
  void ask(crdt::NodeId node, const net::FieldKey& first);
  void answered(crdt::NodeId node, SharedState::RegistryRows rows);
  void taskFailed(kj::Exception&& exception) override;

  MeshContext& context_;
  SharedState& state_;
  const MeshPeers& peers_;
  StatusSince status_since_;
  bool asking_ = false;
  SharedState::RegistryRows taken_;
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::node
