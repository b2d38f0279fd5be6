// Messages about caches on their way between nodes: how soon, over which links, in how many calls.
#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "net/mesh_codec.h"
#include "net/mesh_connection.h"
#include "tests/sim/sim_cluster.h"

using namespace dualmesh;
using sim::SimCluster;

namespace {

struct FakePort final : node::KvPort {
  std::vector<node::KvPeerLife> living;
  std::size_t told = 0;
  std::map<crdt::NodeId, std::deque<std::string>> outbox;
  std::map<crdt::NodeId, std::vector<std::string>> received;
  bool is_ready = true;
  std::size_t asked = 0;
  std::function<void()> on_asked = [] {};

  void kv_peers(std::vector<node::KvPeerLife> nodes) override {
    living = std::move(nodes);
    ++told;
  }
  void kv_received(crdt::NodeId from, std::string message) override {
    received[from].push_back(std::move(message));
  }
  std::string kv_take(crdt::NodeId to) override {
    auto& waiting = outbox[to];
    if (waiting.empty()) return {};
    std::string message = std::move(waiting.front());
    waiting.pop_front();
    return message;
  }
  bool kv_ready(std::string& why_not) override {
    ++asked;
    on_asked();
    if (!is_ready) why_not = "learning caches";
    return is_ready;
  }
};

crdt::NodeId id_of(std::size_t node) { return crdt::node_id_of("n" + std::to_string(node)); }
std::string address_of(std::size_t node) { return "n" + std::to_string(node) + ":7000"; }

struct Nodes {
  explicit Nodes(std::uint64_t seed, std::size_t count) : ports(count), cluster(seed) {
    cluster.add_many(count);
    for (std::size_t i = 0; i < count; ++i) cluster.node(i).kv = &ports[i];
  }
  void settle() {
    cluster.start_all();
    REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 20'000) >=
            0);
    cluster.run_for(2'000);
  }
  void say(std::size_t from, std::size_t to, std::string message) {
    ports[from].outbox[id_of(to)].push_back(std::move(message));
    cluster.node(from).mesh->kv_waiting();
  }
  std::vector<std::string> heard(std::size_t at, std::size_t from) {
    auto all = ports[at].received[id_of(from)];
    std::sort(all.begin(), all.end());
    return all;
  }
  // Milliseconds until it arrived.
  double until_heard(std::size_t at, std::size_t from, const std::string& message) {
    return cluster.run_until(
        [&] {
          const auto& all = ports[at].received[id_of(from)];
          return std::find(all.begin(), all.end(), message) != all.end();
        },
        5'000);
  }
  std::uint64_t calls(std::size_t from, std::size_t to) {
    return cluster.node(from).mesh->courier().stats(id_of(to)).calls;
  }
  std::uint64_t calls() {
    std::uint64_t sum = 0;
    for (std::size_t a = 0; a < ports.size(); ++a) {
      for (std::size_t b = 0; b < ports.size(); ++b) sum += a == b ? 0 : calls(a, b);
    }
    return sum;
  }

  std::vector<FakePort> ports;  // outlive the nodes
  SimCluster cluster;
};

// Of two nodes: the one with the lower id, and the other.
std::pair<std::size_t, std::size_t> leader_first() {
  return id_of(0) < id_of(1) ? std::pair<std::size_t, std::size_t>{0, 1}
                             : std::pair<std::size_t, std::size_t>{1, 0};
}

// A node of a build that knows no messages about caches.
class OldPeer final : public wire::Peer::Server {
 public:
  OldPeer(const crdt::Origin& self, int& calls) : self_(self), calls_(calls) {}
  kj::Promise<void> push(PushContext) override { return kj::READY_NOW; }
  kj::Promise<void> positions(PositionsContext) override { return kj::READY_NOW; }
  kj::Promise<void> ping(PingContext context) override {
    context.getResults().initOrigin().setNode(self_.node.value);
    context.getResults().getOrigin().setEpoch(self_.epoch.value);
    return kj::READY_NOW;
  }
  kj::Promise<void> kv(KvContext context) override {
    ++calls_;
    return wire::Peer::Server::kv(context);  // as for a method that it has not
  }

 private:
  crdt::Origin self_;
  int& calls_;
};

class OldNode final : public wire::Bootstrap::Server {
 public:
  explicit OldNode(int& calls) : calls_(calls) {}
  static crdt::NodeId id() { return crdt::node_id_of("old"); }
  kj::Promise<void> hello(HelloContext context) override {
    const std::uint64_t wall_ms = context.getParams().getHello().getWallMs();
    crdt::Member self;
    self.epoch = crdt::Epoch{1'760'000'000'000};
    self.name = "old";
    self.mesh_address = "old:7000";
    auto welcome = context.getResults().initWelcome();
    welcome.setAccepted(true);
    welcome.setWallMs(wall_ms);
    welcome.setProtocolVersion(node::kProtocolVersion);
    net::write_member(id(), self, welcome.initFrom());
    context.getResults().setPeer(kj::heap<OldPeer>(crdt::Origin{id(), self.epoch}, calls_));
    return kj::READY_NOW;
  }

 private:
  int& calls_;
};

}  // namespace

TEST_CASE("messages about caches reach whom they are for, each once, and then all is quiet") {
  Nodes nodes(71, 4);
  nodes.settle();
  std::vector<std::string> wanted;
  for (int i = 0; i < 50; ++i) {
    for (std::size_t from = 0; from < 4; ++from) {
      for (std::size_t to = 0; to < 4; ++to) {
        if (from != to) nodes.say(from, to, std::to_string(from) + " " + std::to_string(100 + i));
      }
    }
    nodes.cluster.run_for(3);
  }
  nodes.cluster.run_for(200);
  for (std::size_t at = 0; at < 4; ++at) {
    for (std::size_t from = 0; from < 4; ++from) {
      if (at == from) continue;
      const auto heard = nodes.heard(at, from);
      CHECK(heard.size() == 50);
      CHECK(std::adjacent_find(heard.begin(), heard.end()) == heard.end());
      CHECK(heard.front() == std::to_string(from) + " 100");
    }
  }
  const auto calls = nodes.calls();
  nodes.cluster.run_for(5'000);
  CHECK(nodes.calls() == calls);
}

TEST_CASE("a first message about caches goes at once, whoever says it") {
  Nodes nodes(72, 2);
  nodes.settle();
  for (const std::size_t from : {0, 1}) {
    nodes.say(from, 1 - from, "first");
    const double ms = nodes.until_heard(1 - from, from, "first");
    CHECK(ms >= 0);
    CHECK(ms <= 2);  // a link takes 1 ms at most
    nodes.cluster.run_for(1'000);
  }
}

TEST_CASE("a busy pair makes one call per interval, whoever has something to say") {
  const auto [leader, other] = leader_first();
  for (const int who : {1, 2, 3}) {
    CAPTURE(who);
    Nodes nodes(73, 2);
    nodes.settle();
    const auto before = nodes.calls();
    constexpr int kMs = 5'000;
    for (int i = 0; i < kMs; ++i) {
      if ((who & 1) != 0) nodes.say(leader, other, "x");
      if ((who & 2) != 0) nodes.say(other, leader, "y");
      nodes.cluster.run_for(1);
    }
    const auto calls = nodes.calls() - before;
    MESSAGE(calls << " calls in 5 s, of which the leader " << nodes.calls(leader, other));
    CHECK(calls >= kMs / 30 * 9 / 10);
    CHECK(calls <= kMs / 30 * 11 / 10);
    nodes.cluster.run_for(100);
    CHECK(nodes.heard(other, leader).size() == ((who & 1) != 0 ? kMs : 0));
    CHECK(nodes.heard(leader, other).size() == ((who & 2) != 0 ? kMs : 0));
  }
}

TEST_CASE("every node leads half of its pairs") {
  constexpr std::size_t kNodes = 5;
  Nodes nodes(77, kNodes);
  nodes.settle();
  std::map<std::pair<std::size_t, std::size_t>, std::uint64_t> before;
  for (std::size_t a = 0; a < kNodes; ++a) {
    for (std::size_t b = 0; b < kNodes; ++b) {
      if (a != b) before[{a, b}] = nodes.calls(a, b);
    }
  }
  for (int i = 0; i < 1'000; ++i) {
    for (const auto& [pair, calls] : before) nodes.say(pair.first, pair.second, "x");
    nodes.cluster.run_for(1);
  }
  std::vector<std::size_t> leads(kNodes, 0);
  for (const auto& [pair, calls] : before) {
    const std::uint64_t made = nodes.calls(pair.first, pair.second) - calls;
    CHECK((made >= 30 || made <= 3));
    leads[pair.first] += made >= 30;
  }
  for (const std::size_t pairs : leads) CHECK(pairs == kNodes / 2);
}

TEST_CASE("what is more than a call holds goes on without waiting") {
  Nodes nodes(74, 2);
  nodes.settle();
  for (const std::size_t from : {0, 1}) {
    const std::string large(400 << 10, 'x');
    for (int i = 0; i < 12; ++i) nodes.ports[from].outbox[id_of(1 - from)].push_back(large);
    nodes.say(from, 1 - from, "last");
    const double ms = nodes.until_heard(1 - from, from, "last");
    CHECK(ms >= 0);
    CHECK(ms <= 20);
    nodes.cluster.run_for(1'000);
  }
}

TEST_CASE("where only one of two nodes can dial the other, messages come in its answers") {
  for (const std::size_t dialled : {0, 1}) {
    CAPTURE(dialled);
    Nodes nodes(75, 3);
    nodes.settle();
    const std::size_t dials = 1 - dialled;
    auto& network = nodes.cluster.network();
    network.direction(address_of(dialled), address_of(dials)).dials_cut = true;
    network.reset_links(address_of(0), address_of(1));
    nodes.cluster.run_for(3'000);
    REQUIRE(nodes.cluster.node(dialled).mesh->peers().find(id_of(dials))->link == nullptr);
    REQUIRE(nodes.cluster.node(dials).mesh->peers().find(id_of(dialled))->link != nullptr);
    nodes.say(dials, dialled, "there");
    CHECK(nodes.until_heard(dialled, dials, "there") <= 2);
    nodes.cluster.run_for(1'000);
    nodes.say(dialled, dials, "back");
    const double ms = nodes.until_heard(dials, dialled, "back");
    CHECK(ms >= 0);
    CHECK(ms <= 260);
    // While messages come, it asks at the interval.
    const auto before = nodes.calls(dials, dialled);
    for (int i = 0; i < 1'000; ++i) {
      nodes.say(dialled, dials, "more");
      nodes.cluster.run_for(1);
    }
    CHECK(nodes.calls(dials, dialled) - before >= 30);
    CHECK(nodes.calls(dials, dialled) - before <= 37);
  }
}

TEST_CASE("what waits while a link is lost goes over the next one") {
  Nodes nodes(76, 2);
  nodes.settle();
  nodes.cluster.network().reset_links(address_of(0), address_of(1));
  nodes.cluster.run_for(5);
  nodes.say(0, 1, "a");
  nodes.say(1, 0, "b");
  CHECK(nodes.until_heard(1, 0, "a") >= 0);
  CHECK(nodes.until_heard(0, 1, "b") >= 0);
}

TEST_CASE("the port knows who lives, and hears of and is asked for nobody else") {
  Nodes nodes(77, 3);
  nodes.settle();
  FakePort& port = nodes.ports[0];
  CHECK(port.living.size() == 2);
  for (const auto& life : port.living) {
    CHECK((life.name == "n1" || life.name == "n2"));
    CHECK(life.epoch.value != 0);
  }
  node::KvCourier& courier = nodes.cluster.node(0).mesh->courier();
  const auto n1 = std::find_if(port.living.begin(), port.living.end(),
                               [](const auto& life) { return life.node == id_of(1); });
  REQUIRE(n1 != port.living.end());
  CHECK(courier.called({crdt::NodeId{99}, n1->epoch}, {"stranger"}).empty());
  CHECK(courier.called({n1->node, crdt::Epoch{n1->epoch.value - 1}}, {"earlier life"}).empty());
  CHECK(courier.dropped() == 2);
  CHECK(port.received[n1->node].empty());

  nodes.cluster.crash(1);
  REQUIRE(nodes.cluster.run_until([&] { return port.living.size() == 1; }, 10'000) >= 0);
  CHECK(port.living[0].name == "n2");
  const auto told = port.told;
  nodes.cluster.run_for(3'000);
  CHECK(port.told == told);
  nodes.cluster.start(1);
  REQUIRE(nodes.cluster.run_until(
              [&] { return port.living.size() == 2 && nodes.cluster.node(1).mesh->ready(); },
              10'000) >= 0);
  nodes.say(0, 1, "welcome back");
  CHECK(nodes.until_heard(1, 0, "welcome back") >= 0);
}

TEST_CASE("a node is ready when its port is, which is asked as long as the rest is ready") {
  Nodes nodes(78, 2);
  nodes.ports[1].is_ready = false;
  nodes.cluster.start(0);
  nodes.cluster.start(1);
  nodes.cluster.run_for(10'000);
  const node::MeshNode& waiting = *nodes.cluster.node(1).mesh;
  CHECK(nodes.cluster.node(0).mesh->ready());
  CHECK_FALSE(waiting.ready());
  CHECK(waiting.why_not_ready() == "learning caches");
  CHECK(nodes.ports[1].living.size() == 1);
  const auto asked = nodes.ports[1].asked;
  nodes.cluster.run_for(2'000);
  CHECK(nodes.ports[1].asked - asked >= 20);
  CHECK(nodes.ports[1].asked - asked <= 30);  // also when it looks at its readiness anyway
  nodes.ports[1].is_ready = true;
  nodes.cluster.run_for(150);
  CHECK(waiting.ready());
  nodes.ports[1].is_ready = false;  // once ready, it stays so
  nodes.cluster.run_for(1'000);
  CHECK(waiting.ready());
}

TEST_CASE("a port is asked whether it is ready when it has been told of all instances") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Nodes nodes(seed, 2);
    nodes.cluster.node(0).config.instances = {{"e0", "127.0.0.1:9000", {"m"}, 1.0}};
    nodes.cluster.node(1).config.instances.clear();
    nodes.cluster.start(0);
    nodes.cluster.run_for(5'000);
    std::size_t asked_early = 0;
    nodes.ports[1].on_asked = [&] {
      const auto view = nodes.cluster.node(1).host.view();
      asked_early += view == nullptr || view->instances.empty();
    };
    nodes.cluster.start(1);
    nodes.cluster.run_for(5'000);
    CHECK(nodes.ports[1].asked > 0);
    CHECK(asked_early == 0);
  }
}

TEST_CASE("a node without a port takes messages about caches and has none") {
  Nodes nodes(79, 2);
  nodes.cluster.node(1).kv = nullptr;
  nodes.settle();
  nodes.say(0, 1, "lost");
  nodes.cluster.run_for(1'000);
  CHECK(nodes.ports[1].received.empty());
  CHECK(nodes.cluster.node(1).mesh->courier().dropped() == 1);
  CHECK(nodes.calls(0, 1) <= 3);
  CHECK(nodes.cluster.converged());
}

TEST_CASE("a peer that knows of no such messages is tried once per link") {
  Nodes nodes(80, 1);
  nodes.cluster.node(0).config.seeds = {"old:7000"};
  int calls = 0;
  std::vector<kj::Own<net::MeshConnection>> connections;
  nodes.cluster.network().listen("old:7000", [&](kj::Own<kj::AsyncIoStream> stream) {
    connections.push_back(kj::heap<net::MeshConnection>(
        kj::mv(stream), wire::Bootstrap::Client(kj::heap<OldNode>(calls))));
    connections.back()->greeted();
  });
  nodes.cluster.start(0);
  for (const int tried : {1, 2}) {
    REQUIRE(nodes.cluster.run_until([&] { return nodes.cluster.node(0).mesh->ready(); }, 15'000) >=
            0);
    for (int i = 0; i < 20; ++i) {
      nodes.ports[0].outbox[OldNode::id()].push_back("x");
      nodes.cluster.node(0).mesh->kv_waiting();
      nodes.cluster.run_for(100);
    }
    CHECK(calls == tried);
    nodes.cluster.network().reset_links(address_of(0), "old:7000");
    nodes.cluster.run_for(1'000);
  }
}
