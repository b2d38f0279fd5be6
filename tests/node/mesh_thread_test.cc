// Two and three mesh threads in one process, over real sockets on loopback.
#include "node/mesh/mesh_thread.h"

#include <filesystem>

#include "node/mesh/mesh_loop.h"
#include "tests/node/mesh_thread_support.h"

namespace dualmesh::node {

TEST_CASE("two nodes join and see each other's load, placements and depth marks") {
  FakeMeshHost a_host, b_host;
  auto a = started(config_of("a", {}), a_host);
  auto b = started(config_of("b", {address_of(*a)}), b_host);
  REQUIRE(eventually([&] { return a_host.ready() && b_host.ready(); }));
  REQUIRE(eventually([&] { return a_host.view()->live_nodes == 2; }));
  REQUIRE(eventually([&] { return b_host.view()->rings_agree && a_host.view()->rings_agree; }));
  CHECK(a_host.view()->ring_digest == b_host.view()->ring_digest);
  CHECK(a_host.view()->ring_digest != 0);

  const policies::Slot a_e1 = a_host.instance("e1")->slot;
  const policies::Slot b_e1 = b_host.instance("e1")->slot;
  policies::Load load;
  load.queued_requests = 3;
  load.prefilling_tokens = 700;
  a_host.say_load(a_e1, load);
  a_host.say_placement(a_e1, {11, 12, 13});
  a_host.say_depth(42, 3);
  a->wake();
  CHECK(eventually([&] { return b_host.instance("e1")->others == load; }));
  CHECK(b_host.instance("e1")->others_queueing == 1);
  CHECK(eventually([&] {
    return b_host.learned(b_e1) == std::set<policies::BlockKey>{11, 12, 13};
  }));
  CHECK(eventually([&] {
    auto view = b_host.view();
    return view->depth && view->depth->deeper.contains(42) && view->depth->deeper.at(42) == 3;
  }));
  CHECK(a_host.instance("e1")->others == policies::Load{});  // its own is never in its view

  a_host.say_load(a_e1, policies::Load{});
  a->wake();
  CHECK(eventually([&] { return b_host.instance("e1")->others == policies::Load{}; }));

  SUBCASE("a node that ends without a word is found dead and its load goes") {
    a_host.say_load(a_e1, load);
    a->wake();
    REQUIRE(eventually([&] { return b_host.instance("e1")->others == load; }));
    a.reset();
    CHECK(eventually([&] { return b_host.view()->live_nodes == 1; }));
    CHECK(b_host.instance("e1")->others == policies::Load{});
    CHECK(b_host.view()->depth == nullptr);
  }
  SUBCASE("a node that leaves is gone at once") {
    std::atomic<bool> done{false};
    a->leave(2'000, [&] { done = true; });
    CHECK(eventually([&] { return done.load(); }));
    CHECK(eventually([&] { return b_host.view()->live_nodes == 1; }));
    CHECK_FALSE(a_host.ready());
  }
}

TEST_CASE("what is said once a stream of changes has ended is heard as well") {
  FakeMeshHost a_host, b_host;
  auto a = started(config_of("a", {}), a_host);
  auto b = started(config_of("b", {address_of(*a)}), b_host);
  REQUIRE(eventually([&] { return a_host.ready() && b_host.ready(); }));
  const policies::Slot slot = a_host.instance("e1")->slot;
  std::uint32_t said = 0;
  const auto say = [&] {
    policies::Load load;
    load.queued_requests = ++said;
    a_host.say_load(slot, load);
    a->wake();
  };
  for (int quiet_ms = 0; quiet_ms < 80; quiet_ms += 8) {
    for (int change = 0; change < 60; ++change) {
      say();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(quiet_ms));
    say();
    REQUIRE(eventually([&] { return b_host.instance("e1")->others.queued_requests == said; }));
  }
}

TEST_CASE("messages about caches cross from thread to thread") {
  struct Port final : KvPort {
    std::mutex mutex;
    std::vector<std::string> outbox, received;
    void kv_peers(std::vector<KvPeerLife>) override {}
    void kv_received(crdt::NodeId, std::string message) override {
      std::lock_guard lock(mutex);
      received.push_back(std::move(message));
    }
    std::string kv_take(crdt::NodeId) override {
      std::lock_guard lock(mutex);
      if (outbox.empty()) return {};
      std::string message = std::move(outbox.back());
      outbox.pop_back();
      return message;
    }
    bool kv_ready(std::string&) override { return true; }
  };
  Port port_a, port_b;
  FakeMeshHost host_a, host_b;
  const auto start = [](MeshConfig config, FakeMeshHost& host, Port& port) {
    auto mesh = MeshThread::start(std::move(config), host, host, &port);
    REQUIRE(mesh.has_value());
    return std::move(*mesh);
  };
  auto a = start(config_of("a", {}), host_a, port_a);
  auto b = start(config_of("b", {address_of(*a)}), host_b, port_b);
  REQUIRE(eventually([&] { return host_b.ready() && host_a.view()->live_nodes == 2; }));
  for (int i = 0; i < 100; ++i) {
    for (auto* side : {&port_a, &port_b}) {
      std::lock_guard lock(side->mutex);
      side->outbox.push_back(std::to_string(i));
    }
    a->kv_waiting();
    b->kv_waiting();
  }
  for (auto* side : {&port_a, &port_b}) {
    CHECK(eventually([&] {
      std::lock_guard lock(side->mutex);
      return side->received.size() == 100;
    }));
  }
}

TEST_CASE("a mesh listener that others can reach needs consent, and bad addresses say so") {
  FakeMeshHost host;
  MeshConfig config = config_of("a", {});
  config.listen = "0.0.0.0:0";
  auto open = MeshThread::start(config, host, host);
  REQUIRE_FALSE(open.has_value());
  CHECK(open.error().message.find("mesh.insecure") != std::string::npos);
  config.listen = "127.example.org:0";  // a name like any other
  auto named = MeshThread::start(config, host, host);
  REQUIRE_FALSE(named.has_value());
  CHECK(named.error().message.find("mesh.insecure") != std::string::npos);
  for (const char* here : {"127.9.9.9:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:0"}) {
    CAPTURE(here);
    config.listen = here;
    CHECK(check_listen(config).has_value());
  }
  config.listen = "0.0.0.0:0";

  config.insecure = true;
  auto nowhere = MeshThread::start(config, host, host);
  REQUIRE_FALSE(nowhere.has_value());
  CHECK(nowhere.error().message.find("mesh.advertise") != std::string::npos);

  auto first = started(config_of("a", {}), host);
  FakeMeshHost other;
  MeshConfig taken = config_of("b", {});
  taken.listen = address_of(*first);
  auto second = MeshThread::start(taken, other, other);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().message.find("mesh.listen") != std::string::npos);
}

TEST_CASE("registry and policy survive a restart of the only node") {
  const std::string dir =
      (std::filesystem::temp_directory_path() / ("dualmesh-state-" + std::to_string(::getpid())))
          .string();
  std::filesystem::remove_all(dir);
  MeshConfig config = config_of("a", {});
  config.state_dir = dir;
  {
    FakeMeshHost host;
    auto mesh = started(config, host);
    AdminClient client(mesh->port());
    auto admin = client.admin();
    auto add = admin.changeInstanceRequest();
    add.setAction(wire::InstanceAction::ADD);
    add.setName("e9");
    add.setAddress("127.0.0.1:9009");
    add.initModels(1).set(0, "sim");
    add.setKvEvents("tcp://127.0.0.1:5557");
    add.send().wait(client.scope());
    auto all = admin.instancesRequest().send().wait(client.scope());
    CHECK(std::string(all.getInstances()[2].getKvEvents().cStr()) == "tcp://127.0.0.1:5557");
    auto remove = admin.changeInstanceRequest();
    remove.setAction(wire::InstanceAction::REMOVE);
    remove.setName("e1");
    remove.send().wait(client.scope());
    auto policy = admin.setPolicyRequest();
    policy.setPolicy("round_robin");
    policy.send().wait(client.scope());
  }
  FakeMeshHost host;
  auto mesh = started(config, host);
  REQUIRE(eventually([&] { return host.instance("e9").has_value(); }));
  CHECK(host.instance("e9")->lifecycle == policies::Lifecycle::active);
  CHECK(host.instance("e9")->kv_events == "tcp://127.0.0.1:5557");
  // The configuration names e1 again, but an administrator had removed it.
  CHECK(host.instance("e1")->lifecycle == policies::Lifecycle::removed);
  CHECK(host.view()->settings.policy == "round_robin");
  FakeMeshHost other;
  auto second = MeshThread::start(config, other, other);
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().message.find("in use by another node") != std::string::npos);
  mesh.reset();
  std::filesystem::remove_all(dir);
}

}  // namespace dualmesh::node
