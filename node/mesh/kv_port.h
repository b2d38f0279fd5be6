// KvPort: the border between the mesh thread, which carries messages about caches, and whoever
// writes and reads them.
//
// The mesh knows nothing of their contents: bytes go from node to node over the links there are,
// one message under way per peer and direction, and answers carry what waits the other way.
//
// Threads: called on the mesh thread; implementations return at once and never wait.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crdt/identity.h"

namespace dualmesh::node {

struct KvPeerLife {
  crdt::NodeId node;
  crdt::Epoch epoch;
  std::string name;
  bool operator==(const KvPeerLife&) const = default;
};

class KvPort {
 public:
  virtual ~KvPort() = default;
  // Who lives, this node left out; called when that changes, a node that joins not before it knows
  // the members.
  virtual void kv_peers(std::vector<KvPeerLife> living) = 0;
  virtual void kv_received(crdt::NodeId from, std::string message) = 0;
  // The next message for `to`, empty when nothing waits. MeshThread::kv_waiting says that something
  // may.
  virtual std::string kv_take(crdt::NodeId to) = 0;
  // May this node call itself ready, as far as caches go? Why not otherwise; asked each 100 ms
  // while the rest is ready, until it says yes. A port that has waited long enough does.
  virtual bool kv_ready(std::string& why_not) = 0;
};

}  // namespace dualmesh::node
