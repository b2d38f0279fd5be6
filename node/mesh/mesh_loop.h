// MeshLoop: what runs on the mesh thread: a kj event loop with a listener, a dialer, a MeshNode and
// the mailbox that feeds it.
//
// Threads: `run` on the mesh thread only; kj's objects live and die inside it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "net/error.h"
#include "node/mesh/kv_port.h"
#include "node/mesh/mailbox.h"
#include "node/mesh/mesh_config.h"
#include "node/mesh/mesh_host.h"
#include "node/mesh/mesh_security.h"
#include "node/mesh/state_store.h"

namespace dualmesh::node {

class MeshNode;

struct MeshLoop {
  MeshConfig config;
  MeshHost& host;
  AdminHost& admin;
  KvPort* kv;  // may be null
  std::unique_ptr<MeshSecurity> security;
  std::unique_ptr<StateStore> store;  // null: nothing is kept
  net::SavedTables saved;
  Mailbox<MeshNode> mailbox;
  std::atomic<bool> stopping{false};    // set, then ring the mailbox
  std::atomic<bool> kv_waiting{false};  // posted, not looked at yet
  std::mutex metrics_mutex;
  std::string metrics_text;  // refreshed once a second

  // Runs until stopping. `started` is called once, with the port or with why it could not listen.
  void run(const std::function<void(net::Result<std::uint16_t>)>& started);
};

// An error when `config` cannot or must not be listened on, with what to change.
net::Result<void> check_listen(const MeshConfig& config);

}  // namespace dualmesh::node
