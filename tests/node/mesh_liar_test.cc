// A peer that the node itself dials and that answers with lies: it acknowledges what it never
// applied, says other contents for a version that it has sent, knows of lives that cannot be.
#include <doctest/doctest.h>

#include <ctime>

#include "net/mesh_acceptor.h"
#include "tests/node/bad_peer.h"
#include "tests/node/fake_mesh_host.h"

namespace dualmesh::node {
namespace {

struct Lies {
  crdt::Origin self;
  MeshConfig config;
  std::string address;
  bool tables_differ = false;  // acknowledged, never applied
  bool load_differs = false;   // other contents for version 1 of its load
  bool positions_unreadable = false;
  std::uint64_t known_epoch = 0;  // it says to have met us by
  std::uint64_t refutations = 0;  // of a death of ours that it believes in
  int pushes = 0;
};

class LyingPeer final : public wire::Peer::Server {
 public:
  LyingPeer(Lies& lies, crdt::Origin caller) : lies_(lies), caller_(caller) {}

  kj::Promise<void> push(PushContext context) override {
    ++lies_.pushes;
    auto deltas = context.getParams().getDeltas();
    auto positions = context.getResults().initPositions(deltas.size());
    for (unsigned i = 0; i < deltas.size(); ++i) {
      positions[i].setKind(deltas[i].getKind());
      positions[i].setOrigin(deltas[i].getOrigin());
      positions[i].setVersion(deltas[i].getTo());
      acknowledged_[static_cast<std::size_t>(deltas[i].getKind())] = deltas[i].getTo();
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> ping(PingContext context) override {
    context.getResults().initOrigin().setNode(lies_.self.node.value);
    context.getResults().getOrigin().setEpoch(lies_.self.epoch.value);
    return kj::READY_NOW;
  }
  kj::Promise<void> positions(PositionsContext context) override {
    if (lies_.positions_unreadable) {
      context.getResults().initPositions(net::CodecLimits::kPositions + 1);
      return kj::READY_NOW;
    }
    auto out = context.getResults().initPositions(2 + net::kStreamKinds);
    for (unsigned kind = 0; kind < net::kStreamKinds; ++kind) {  // the caller's streams
      out[kind].setKind(static_cast<wire::StreamKind>(kind));
      out[kind].initOrigin().setNode(caller_.node.value);
      out[kind].getOrigin().setEpoch(caller_.epoch.value);
      out[kind].setVersion(acknowledged_[kind]);
    }
    for (unsigned own = net::kStreamKinds; own < out.size(); ++own) {
      out[own].initOrigin().setNode(lies_.self.node.value);
      out[own].getOrigin().setEpoch(lies_.self.epoch.value);
      out[own].setVersion(1);
      out[own].setCount(1);
      out[own].setSum(4711);
    }
    out[net::kStreamKinds].setKind(lies_.tables_differ ? wire::StreamKind::REGISTRY
                                                       : wire::StreamKind::DEPTH);
    out[net::kStreamKinds + 1].setKind(lies_.load_differs ? wire::StreamKind::LOAD
                                                          : wire::StreamKind::DEPTH);
    return kj::READY_NOW;
  }

 private:
  Lies& lies_;
  crdt::Origin caller_;
  std::uint64_t acknowledged_[net::kStreamKinds] = {};
};

class LyingBootstrap final : public wire::Bootstrap::Server {
 public:
  explicit LyingBootstrap(Lies& lies) : lies_(lies) {}
  kj::Promise<void> hello(HelloContext context) override {
    auto from = context.getParams().getHello().getFrom();
    capnp::MallocMessageBuilder message;
    auto own = message.initRoot<wire::Hello>();
    honest_hello("liar", lies_.config, own);
    own.getFrom().setEpoch(lies_.self.epoch.value);
    own.getFrom().setMeshAddress(lies_.address);
    auto welcome = context.getResults().initWelcome();
    welcome.setAccepted(true);
    welcome.setFrom(own.getFrom());
    welcome.setProtocolVersion(kProtocolVersion);
    welcome.setWallMs(own.getWallMs());
    welcome.setKnownEpoch(lies_.known_epoch);
    if (lies_.refutations > 0) {
      welcome.setCaller(from);
      welcome.getCaller().setRefutations(lies_.refutations);
      welcome.getCaller().setStatus(static_cast<std::uint8_t>(crdt::MemberStatus::dead));
    }
    context.getResults().setPeer(kj::heap<LyingPeer>(
        lies_, crdt::Origin{crdt::NodeId{from.getNode()}, crdt::Epoch{from.getEpoch()}}));
    return kj::READY_NOW;
  }

 private:
  Lies& lies_;
};

// A liar on a socket of its own, and a node that has it as its seed.
class Scene {
 public:
  Scene() : io_(kj::setupAsyncIo()), refusals_("liar", io_.provider->getTimer()) {
    listener_ =
        io_.provider->getNetwork().parseAddress("127.0.0.1", 0).wait(io_.waitScope)->listen();
    acceptor_ = kj::heap<net::MeshAcceptor>(
        [this](std::shared_ptr<net::IncomingPeer> caller) -> wire::Bootstrap::Client {
          caller->set_greeted(net::Caller::node);
          return kj::heap<LyingBootstrap>(lies);
        },
        net::AcceptorLimits{}, refusals_, io_.provider->getTimer());
    accepting_ = accept().eagerlyEvaluate(nullptr);
    lies.address = "127.0.0.1:" + std::to_string(listener_->getPort());
    lies.self = {crdt::node_id_of("liar"), crdt::Epoch{1'760'000'000'000}};
    lies.config.node_name = "a";
    lies.config.listen = "127.0.0.1:0";
    lies.config.seeds = {lies.address};
    lies.config.positions_interval_ms = 20;
    lies.config.instances = {{"e1", "127.0.0.1:9001", {"sim"}, 1.0}};
    lies.config.alone = true;
  }
  void start() {
    auto started = MeshThread::start(lies.config, host, host);
    REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().message));
    node = std::move(*started);
  }
  // Lies on until it holds.
  template <class Condition>
  bool lying_until(Condition&& condition) {
    return eventually([&] {
      io_.provider->getTimer().afterDelay(5 * kj::MILLISECONDS).wait(io_.waitScope);
      return condition();
    });
  }
  kj::AsyncIoContext& io() { return io_; }

  Lies lies;
  FakeMeshHost host;
  std::unique_ptr<MeshThread> node;

 private:
  kj::Promise<void> accept() {
    return listener_->accept().then([this](kj::Own<kj::AsyncIoStream>&& stream) {
      acceptor_->accept(kj::mv(stream), "the node", nullptr);
      return accept();
    });
  }

  kj::AsyncIoContext io_;
  net::Refusals refusals_;
  kj::Own<kj::ConnectionReceiver> listener_;
  kj::Own<net::MeshAcceptor> acceptor_;
  kj::Promise<void> accepting_ = nullptr;
};

// Of the line in which the node describes the member called `name`; empty: it knows none.
std::string member_line(const MeshThread& node, const std::string& name) {
  const std::string dump = node.dump_state();
  const auto at = dump.find("  member " + name + " ");
  return at == std::string::npos ? "" : dump.substr(at, dump.find('\n', at) - at);
}

}  // namespace

TEST_CASE("a life of ours that cannot have been is refused, and we keep our epoch") {
  Scene scene;
  SUBCASE("the last number") { scene.lies.known_epoch = ~std::uint64_t{0}; }
  SUBCASE("the last but one") { scene.lies.known_epoch = ~std::uint64_t{0} - 1; }
  SUBCASE("two hours ahead of both clocks") {
    scene.lies.known_epoch = static_cast<std::uint64_t>(std::time(nullptr) + 7'200) * 1'000;
  }
  scene.start();
  const std::string before = member_line(*scene.node, "a");
  REQUIRE_FALSE(before.empty());
  CHECK(scene.lying_until([&] { return refused(*scene.node, "epoch") >= 1; }));
  CHECK(member_line(*scene.node, "a") == before);
  CHECK(member_line(*scene.node, "liar").empty());
  CHECK(scene.host.ready());
}

TEST_CASE("a peer that answers by an epoch far ahead of our clock becomes no member") {
  Scene scene;
  scene.lies.self.epoch =
      crdt::Epoch{static_cast<std::uint64_t>(std::time(nullptr) + 7'200) * 1'000};
  scene.start();
  CHECK(scene.lying_until([&] { return refused(*scene.node, "epoch") >= 1; }));
  CHECK(member_line(*scene.node, "liar").empty());
  CHECK(scene.host.ready());
}

TEST_CASE("a death that no refutation can outrank is answered with a new life") {
  Scene scene;
  scene.lies.refutations = ~std::uint64_t{0};
  scene.start();
  const std::string before = member_line(*scene.node, "a");
  CHECK(scene.lying_until([&] { return member_line(*scene.node, "a") != before; }));
  scene.lies.refutations = 0;
  CHECK(scene.lying_until([&] { return !member_line(*scene.node, "liar").empty(); }));
  CHECK(member_line(*scene.node, "a").find(" status 0") != std::string::npos);
  CHECK(scene.host.ready());
}

TEST_CASE("a peer that acknowledges but never applies is found out, and costs little") {
  Scene scene;
  scene.lies.tables_differ = true;
  scene.start();
  CHECK(scene.lying_until([&] { return refused(*scene.node, "not_applied") >= 1; }));
  const int pushes = scene.lies.pushes;
  // The whole table goes again at most every 10 s, whatever it says 50 times a second.
  int looks = 0;
  CHECK(scene.lying_until([&] { return ++looks == 100; }));
  CHECK(scene.lies.pushes <= pushes + 10);
  CHECK(scene.host.ready());
}

TEST_CASE("other contents for one version end the link, and what was held of the writer goes") {
  Scene scene;
  scene.start();
  // Its load, version 1, as it says it first.
  REQUIRE(scene.lying_until([&] { return scene.lies.pushes > 0; }));
  auto stream = scene.io()
                    .provider->getNetwork()
                    .parseAddress("127.0.0.1", scene.node->port())
                    .wait(scene.io().waitScope)
                    ->connect()
                    .wait(scene.io().waitScope);
  net::MeshConnection connection(kj::mv(stream));
  auto hello = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
  honest_hello("liar", scene.lies.config, hello.initHello());
  hello.getHello().getFrom().setEpoch(scene.lies.self.epoch.value);
  hello.getHello().getFrom().setMeshAddress(scene.lies.address);
  auto welcome = hello.send().wait(scene.io().waitScope);
  REQUIRE(welcome.getWelcome().getAccepted());
  auto push = welcome.getPeer().pushRequest();
  auto delta = push.initDeltas(1)[0];
  delta.setKind(wire::StreamKind::LOAD);
  delta.initOrigin().setNode(scene.lies.self.node.value);
  delta.getOrigin().setEpoch(scene.lies.self.epoch.value);
  delta.setTo(1);
  auto row = delta.initLoad(1)[0];
  row.setInstance(5);
  row.setVersion(1);
  row.setQueuedRequests(3);
  push.send().wait(scene.io().waitScope);
  const std::string held = "stream load of " + fmt::format("{:016x}", scene.lies.self.node.value) +
                           " epoch 1760000000000 version 1";
  CHECK(scene.node->dump_state().find(held) != std::string::npos);

  scene.lies.load_differs = true;
  CHECK(scene.lying_until([&] { return refused(*scene.node, "contradiction") >= 1; }));
  CHECK(scene.node->dump_state().find(held) == std::string::npos);
  CHECK(scene.host.ready());
}

TEST_CASE("positions that cannot be read end the link") {
  Scene scene;
  scene.lies.positions_unreadable = true;
  scene.start();
  CHECK(scene.lying_until([&] { return refused(*scene.node, "unreadable") >= 1; }));
  CHECK(scene.host.ready());
}

}  // namespace dualmesh::node
