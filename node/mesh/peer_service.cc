#include "node/mesh/peer_service.h"

#include <spdlog/spdlog.h>

#include "net/mesh_codec.h"
#include "node/mesh/admin_server.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

class PeerService final : public wire::Peer::Server {
 public:
  PeerService(MeshNode& node, crdt::Origin caller) : node_(node), caller_(caller) {}

  kj::Promise<void> push(PushContext context) override {
    auto deltas = context.getParams().getDeltas();
    KJ_REQUIRE(deltas.size() <= net::CodecLimits::kDeltas, "too many deltas in a push");
    const std::size_t bytes = context.getParams().totalSize().wordCount * sizeof(capnp::word);
    std::vector<net::StreamPosition> reached;
    for (auto in : deltas) {
      auto delta = net::read_delta(in);
      if (!delta) {
        // Not acknowledged, so the sender sees that it was not taken.
        spdlog::warn("mesh: {}: bad push: {}", node_.config().node_name, delta.error().message);
        node_.state().count_malformed();
        continue;
      }
      // One of us has begun a new life since the handshake: the link must begin anew as well.
      KJ_REQUIRE(delta->origin == caller_ || is_relayed(*delta),
                 "a push by another life than that of the handshake");
      reached.push_back(node_.state().apply(*delta, caller_, node_.context().wall_ms()));
    }
    node_.peers().told(caller_.node, bytes);
    node_.peers().applied(caller_.node);
    auto positions = context.getResults().initPositions(static_cast<unsigned>(reached.size()));
    for (unsigned i = 0; i < positions.size(); ++i) net::write_position(reached[i], positions[i]);
    return kj::READY_NOW;
  }

  kj::Promise<void> ping(PingContext context) override {
    node_.peers().told(caller_.node);
    auto wanted = context.getParams().getWanted();
    KJ_REQUIRE(wanted.size() <= node_.config().max_members, "more wanted writers than members");
    std::vector<net::FeedPositions> writers;
    for (auto writer : wanted) writers.push_back(net::read_feed_positions(writer));
    const auto relaying = node_.peers().relay_to(caller_.node, writers);
    auto results = context.getResults();
    auto names = results.initRelaying(static_cast<unsigned>(relaying.size()));
    for (unsigned i = 0; i < names.size(); ++i) names.set(i, relaying[i].value);
    net::write_feed_positions(node_.state().feed_positions(caller_), results.initHeld());
    results.initOrigin().setNode(node_.state().self().node.value);
    results.getOrigin().setEpoch(node_.state().self().epoch.value);
    results.setWallMs(node_.context().wall_ms());
    return kj::READY_NOW;
  }

  kj::Promise<void> pingFor(PingForContext context) override {
    return node_.peers()
        .reach(crdt::NodeId{context.getParams().getTarget()})
        .then([context](bool reached) mutable { context.getResults().setReached(reached); });
  }

  kj::Promise<void> positions(PositionsContext context) override {
    const auto all = node_.state().positions();
    auto out = context.getResults().initPositions(static_cast<unsigned>(all.size()));
    for (unsigned i = 0; i < out.size(); ++i) net::write_position(all[i], out[i]);
    context.getResults().setRoot(node_.state().root());
    return kj::READY_NOW;
  }

 private:
  bool is_relayed(const net::StreamDelta& delta) const {
    return !net::is_table(delta.kind()) && delta.origin.node != caller_.node;
  }

  MeshNode& node_;
  crdt::Origin caller_;
};

class BootstrapService final : public wire::Bootstrap::Server {
 public:
  BootstrapService(MeshNode& node, std::shared_ptr<net::IncomingPeer> caller)
      : node_(node), caller_(std::move(caller)) {}

  kj::Promise<void> hello(HelloContext context) override {
    const HelloVerdict verdict = node_.peers().greeted(context.getParams().getHello(), *caller_);
    auto results = context.getResults();
    auto welcome = results.initWelcome();
    welcome.setAccepted(verdict.accepted);
    welcome.setRefusal(verdict.refusal);
    welcome.setKnownEpoch(verdict.known_epoch.value);
    welcome.setWallMs(node_.context().wall_ms());
    welcome.setProtocolVersion(kProtocolVersion);
    net::write_member(node_.state().self().node, node_.state().self_member(), welcome.initFrom());
    if (verdict.accepted) {
      caller_->set_greeted();
      results.setPeer(kj::heap<PeerService>(node_, crdt::Origin{verdict.node, verdict.from.epoch}));
    }
    return kj::READY_NOW;
  }

  // Over TLS any certificate of the mesh's CA may administer.
  kj::Promise<void> admin(AdminContext context) override {
    caller_->set_greeted();
    context.getResults().getAdmin().setAs<wire::Admin>(make_admin_service(node_));
    return kj::READY_NOW;
  }

 private:
  MeshNode& node_;
  std::shared_ptr<net::IncomingPeer> caller_;
};

}  // namespace

wire::Bootstrap::Client make_bootstrap_service(MeshNode& node,
                                               std::shared_ptr<net::IncomingPeer> caller) {
  return kj::heap<BootstrapService>(node, std::move(caller));
}

}  // namespace dualmesh::node
