// MeshThread: runs a node's mesh half on a thread of its own, and is the only door to it.
//
// Behind it one kj event loop carries all Cap'n Proto, all shared state and membership. Nothing on
// the request path waits for it: calls in are posts to a mailbox, calls out are MeshHost and
// AdminHost.
//
// Threads: construct and destroy on main; every other call from any thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/error.h"
#include "node/mesh/kv_port.h"
#include "node/mesh/mesh_config.h"
#include "node/mesh/mesh_host.h"

namespace dualmesh::node {

class MeshThread {
 public:
  // Listens and starts; fails if the address cannot be bound or state_dir cannot be read. `kv` is
  // called from before this returns until the end of the destructor; null: nothing is kept of
  // caches, and messages about them are dropped.
  static net::Result<std::unique_ptr<MeshThread>> start(MeshConfig config, MeshHost& host,
                                                        AdminHost& admin, KvPort* kv = nullptr);
  ~MeshThread();  // stops at once; leave() first for a graceful end

  // A local change waits to be taken. Costs one atomic exchange when a wake-up is already pending.
  void wake();
  // The KvPort has a message for somebody. As cheap.
  void kv_waiting();

  // Discovery. Addresses are host:port. Nobody is removed because a look-up came back empty.
  void peers_found(std::vector<std::string> addresses);
  void instances_found(
      std::vector<SeedInstance> instances);  // from DNS; an admin's removal outranks it
  void models_found(std::string instance, std::vector<std::string> models);  // from /v1/models

  // Tells the others that we leave, waits until they have it or `timeout_ms` passed, then `done`
  // (on the mesh thread).
  void leave(std::uint32_t timeout_ms, std::function<void()> done);
  // Draining: still a member, no longer ready.
  void set_draining();
  // Those of this node's configuration, which hold until the mesh has weights of its own.
  void set_configured_weights(policies::ClientWeights weights);

  std::string metrics() const;     // Prometheus text of the mesh half
  std::string dump_state() const;  // for the state-dump signal; waits up to 1 s for the mesh thread
  std::uint16_t port() const;

 private:
  struct State;
  explicit MeshThread(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::node
