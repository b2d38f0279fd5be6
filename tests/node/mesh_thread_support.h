// Mesh threads over real sockets on loopback, and an administrator of theirs.
//
// Threads: the test's; AdminClient has an event loop of its own there, one at a time.
#pragma once

#include <capnp/rpc-twoparty.h>
#include <doctest/doctest.h>
#include <kj/async-io.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/admin.capnp.h"
#include "net/mesh.capnp.h"
#include "net/mesh_connection.h"
#include "node/mesh/mesh_thread.h"
#include "tests/node/fake_mesh_host.h"

namespace dualmesh::node {

inline MeshConfig config_of(const std::string& name, std::vector<std::string> seeds) {
  MeshConfig config;
  config.node_name = name;
  config.listen = "127.0.0.1:0";
  config.seeds = std::move(seeds);
  config.alone = config.seeds.empty();
  config.instances = {{"e1", "127.0.0.1:9001", {"sim"}, 1.0},
                      {"e2", "127.0.0.1:9002", {"sim"}, 1.0}};
  return config;
}

inline std::string address_of(const MeshThread& mesh) {
  return "127.0.0.1:" + std::to_string(mesh.port());
}

template <class Condition>
bool eventually(Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

inline std::unique_ptr<MeshThread> started(MeshConfig config, FakeMeshHost& host) {
  auto mesh = MeshThread::start(std::move(config), host, host);
  REQUIRE_MESSAGE(mesh.has_value(), (mesh ? "" : mesh.error().message));
  return std::move(*mesh);
}

// An administrator's connection to one node.
class AdminClient {
 public:
  explicit AdminClient(std::uint16_t port) : io_(kj::setupAsyncIo()) {
    auto stream = io_.provider->getNetwork()
                      .parseAddress("127.0.0.1", port)
                      .wait(io_.waitScope)
                      ->connect()
                      .wait(io_.waitScope);
    connection_ = kj::heap<net::MeshConnection>(kj::mv(stream));
  }
  wire::Admin::Client admin() {
    return connection_->bootstrap()
        .castAs<wire::Bootstrap>()
        .adminRequest()
        .send()
        .wait(io_.waitScope)
        .getAdmin()
        .getAs<wire::Admin>();
  }
  kj::WaitScope& scope() { return io_.waitScope; }

 private:
  kj::AsyncIoContext io_;
  kj::Own<net::MeshConnection> connection_;
};

}  // namespace dualmesh::node
