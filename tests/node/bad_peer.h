// What a hostile or broken peer does to a node's mesh port, over real sockets: raw bytes, TLS or
// Cap'n Proto calls that no honest node would make.
//
// Threads: one; the node under test runs on threads of its own.
#pragma once

#include <capnp/rpc.capnp.h>
#include <capnp/serialize-async.h>
#include <doctest/doctest.h>
#include <kj/async-io.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "net/admin.capnp.h"
#include "net/mesh.capnp.h"
#include "net/mesh_codec.h"
#include "net/mesh_connection.h"
#include "node/mesh/mesh_config.h"
#include "node/mesh/mesh_thread.h"
#include "tests/node/fake_mesh_host.h"

namespace dualmesh::node {

template <class Condition>
bool eventually(Condition&& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// How often the node has refused something for this reason.
inline int refused(const MeshThread& mesh, std::string_view reason) {
  const std::string dump = mesh.dump_state();
  const std::string key = "  refused " + std::string(reason) + " ";
  const auto at = dump.find(key);
  return at == std::string::npos ? 0 : std::stoi(dump.substr(at + key.size()));
}

// Members and the digests of all streams: what a refused message must leave as it was.
inline std::string shared_state(const MeshThread& mesh) {
  std::string kept;
  const std::string dump = mesh.dump_state();
  for (std::size_t begin = 0; begin < dump.size();) {
    const std::size_t end = dump.find('\n', begin);
    const std::string line = dump.substr(begin, end - begin);
    const bool empty = line.find(" version 0 entries 0 ") != std::string::npos;
    if (line.starts_with("  stream ") && !empty) kept += line + "\n";
    begin = end + 1;
  }
  return kept;
}

class BadPeer {
 public:
  explicit BadPeer(std::uint16_t port) : port_(port), io_(kj::setupAsyncIo()) {}

  kj::WaitScope& scope() { return io_.waitScope; }
  kj::Own<kj::AsyncIoStream> connect() {
    return io_.provider->getNetwork()
        .parseAddress("127.0.0.1", port_)
        .wait(scope())
        ->connect()
        .wait(scope());
  }
  // Sends the bytes and says whether the node closed the connection on them.
  bool closes_on(std::string_view bytes) {
    auto stream = connect();
    stream->write(bytes.data(), bytes.size()).wait(scope());
    return closed(*stream);
  }
  // Reads until the end, of which there must be one within 20 s.
  bool closed(kj::AsyncIoStream& stream) {
    char buffer[4096];
    bool ended = false;
    auto failure = kj::runCatchingExceptions([&]() {
      while (true) {
        const std::size_t n = io_.provider->getTimer()
                                  .timeoutAfter(20 * kj::SECONDS, stream.tryRead(buffer, 1, 4096))
                                  .wait(scope());
        if (n == 0) break;
      }
      ended = true;
    });
    KJ_IF_MAYBE (exception, failure) {
      ended = exception->getType() == kj::Exception::Type::DISCONNECTED;
    }
    return ended;
  }

 private:
  std::uint16_t port_;
  kj::AsyncIoContext io_;
};

// As an honest node called `name` would say it, of the mesh of `config`.
inline void honest_hello(const std::string& name, const MeshConfig& config,
                         wire::Hello::Builder out) {
  const auto now_ms =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count());
  out.setProtocolVersion(kProtocolVersion);
  auto parameters = out.initParameters();
  parameters.setCluster(config.cluster);
  parameters.setBlockBytes(config.chain.block_bytes);
  parameters.setChainSeed(config.chain.seed);
  parameters.setRingPointsPerWeight(config.ring.points_per_weight);
  parameters.setRingSeedA(config.ring.seed_a);
  parameters.setRingSeedB(config.ring.seed_b);
  crdt::Member member;
  member.epoch = crdt::Epoch{now_ms};
  member.name = name;
  member.mesh_address = "127.0.0.1:1";
  net::write_member(crdt::node_id_of(name), member, out.initFrom());
  out.setWallMs(now_ms);
}

// What came of a call: its refusal or exception, empty when it went through.
template <class Promise>
std::string outcome(Promise&& promise, kj::WaitScope& scope) {
  std::string why;
  auto failure = kj::runCatchingExceptions([&]() { promise.wait(scope); });
  KJ_IF_MAYBE (exception, failure) {
    why = exception->getDescription().cStr();
    if (why.empty()) why = "failed";
  }
  return why;
}

inline MeshConfig quiet_config() {
  MeshConfig config;
  config.node_name = "a";
  config.listen = "127.0.0.1:0";
  config.alone = true;
  config.instances = {{"e1", "127.0.0.1:9001", {"sim"}, 1.0}};
  config.suspect_after_misses = 1'000;  // the bad peers cannot be pinged, and need not die
  return config;
}

// A node with something to lose.
struct Victim {
  explicit Victim(MeshConfig wanted = quiet_config()) : config(std::move(wanted)) {
    auto started = MeshThread::start(config, host, host);
    REQUIRE_MESSAGE(started.has_value(), (started ? "" : started.error().message));
    mesh = std::move(*started);
    REQUIRE(eventually([&] { return host.ready() && host.instance("e1"); }));
    policies::Load load;
    load.queued_requests = 3;
    host.say_load(host.instance("e1")->slot, load);
    host.say_placement(host.instance("e1")->slot, {11, 12, 13});
    mesh->wake();
    before = settled();
  }

  // Once two looks are alike.
  std::string settled() const {
    std::string last;
    REQUIRE(eventually([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const std::string now = shared_state(*mesh);
      return std::exchange(last, now) == now && !now.empty();
    }));
    return last;
  }
  bool untouched() const {
    const std::string now = shared_state(*mesh);
    if (now != before) MESSAGE("was\n" << before << "is\n" << now);
    return now == before;
  }
  // It still answers an administrator.
  bool serves(BadPeer& from) const {
    net::MeshConnection connection(from.connect());
    auto admin = connection.bootstrap()
                     .castAs<wire::Bootstrap>()
                     .adminRequest()
                     .send()
                     .wait(from.scope())
                     .getAdmin()
                     .getAs<wire::Admin>();
    return admin.statusRequest().send().wait(from.scope()).getStatus().getReady();
  }

  MeshConfig config;
  FakeMeshHost host;
  std::unique_ptr<MeshThread> mesh;
  std::string before;
};

// A node's link, up to its accepted hello.
struct Linked {
  Linked(BadPeer& peer, const Victim& victim, const std::string& name)
      : connection(peer.connect(), {.words = 1 << 22, .nesting = 64}),
        origin{crdt::node_id_of(name), {}} {
    auto request = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
    honest_hello(name, victim.config, request.initHello());
    origin.epoch = crdt::Epoch{request.getHello().getFrom().getEpoch()};
    auto answer = request.send().wait(peer.scope());
    REQUIRE(std::string(answer.getWelcome().getRefusal().cStr()) == "");
    peer_of = answer.getPeer();
  }
  net::MeshConnection connection;
  crdt::Origin origin;
  wire::Peer::Client peer_of = nullptr;
};

}  // namespace dualmesh::node
