#include "node/mesh/peer_service.h"

#include "net/mesh_codec.h"
#include "node/mesh/admin_server.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

class PeerService final : public wire::Peer::Server {
 public:
  PeerService(MeshNode& node, crdt::Origin caller, std::shared_ptr<net::IncomingPeer> connection)
      : node_(node), caller_(caller), connection_(std::move(connection)) {}

  kj::Promise<void> push(PushContext context) override {
    StreamBytes bytes{};
    // All or nothing: a push with one delta that cannot be read changes nothing.
    const std::vector<net::StreamDelta> deltas = read_push(context.getParams(), bytes);
    const std::uint64_t malformed = node_.state().counters().malformed;
    std::vector<net::StreamPosition> reached;
    for (const net::StreamDelta& delta : deltas) {
      // One of us has begun a new life since the handshake: the link must begin anew as well.
      KJ_REQUIRE(delta.origin == caller_ || is_relayed(delta),
                 "a push by another life than that of the handshake");
      reached.push_back(node_.state().apply(delta, caller_, node_.context().wall_ms()));
      if (node_.state().counters().malformed > malformed) {
        refuse(net::Refusal::unreadable,
               fmt::format("a delta of {} whose versions are out of order",
                           net::to_string(delta.kind())));
      }
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
    auto accused = context.getParams().getAccused();
    if (std::max(wanted.size(), accused.size()) > node_.config().max_members) {
      refuse(net::Refusal::unreadable, "more wanted writers or accused than members");
    }
    std::vector<Accusation> accusations;
    for (auto row : accused) {
      accusations.push_back(
          {crdt::NodeId{row.getNode()}, crdt::Epoch{row.getEpoch()}, row.getRefutations()});
    }
    node_.peers().accused(caller_.node, std::move(accusations));
    std::vector<net::FeedPositions> writers;
    for (auto writer : wanted) writers.push_back(net::read_feed_positions(writer));
    const auto relaying =
        node_.peers().pinged_by(caller_.node, writers, context.getParams().getJoining());
    auto results = context.getResults();
    auto names = results.initRelaying(static_cast<unsigned>(relaying.size()));
    for (unsigned i = 0; i < names.size(); ++i) names.set(i, relaying[i].value);
    net::write_feed_positions(node_.state().feed_positions(caller_), results.initHeld());
    results.setTables(node_.state().tables_digest());
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

  kj::Promise<void> kv(KvContext context) override {
    KvMessages messages;
    auto failure = kj::runCatchingExceptions(
        [&]() { messages = read_kv_messages(context.getParams().getMessages()); });
    KJ_IF_MAYBE (exception, failure) {
      refuse(net::Refusal::unreadable, exception->getDescription().cStr());
    }
    node_.peers().told(caller_.node);
    const KvMessages answer = node_.courier().called(caller_, std::move(messages));
    write_kv_messages(answer,
                      context.getResults().initMessages(static_cast<unsigned>(answer.size())));
    return kj::READY_NOW;
  }

  kj::Promise<void> registry(RegistryContext context) override {
    const auto first = context.getParams().getInstance();
    const auto rows = node_.state().registry_rows(
        {std::string(first.begin(), first.size()), context.getParams().getField()},
        node_.config().max_push_bytes);
    net::write_registry(rows, context.getResults().initRows(static_cast<unsigned>(rows.size())));
    return kj::READY_NOW;
  }

 private:
  std::vector<net::StreamDelta> read_push(PushParams::Reader params, StreamBytes& bytes) {
    std::vector<net::StreamDelta> deltas;
    std::string bad;
    // Reading throws where pointers lead too deep or nowhere.
    auto failure = kj::runCatchingExceptions([&]() {
      auto in = params.getDeltas();
      if (in.size() > net::CodecLimits::kDeltas) bad = "too many deltas in a push";
      for (unsigned i = 0; i < in.size() && bad.empty(); ++i) {
        auto delta = net::read_delta(in[i]);
        if (delta) {
          bytes[index_of(delta->kind())] += in[i].totalSize().wordCount * sizeof(capnp::word);
          deltas.push_back(std::move(*delta));
        } else {
          bad = delta.error().message;
        }
      }
    });
    KJ_IF_MAYBE (exception, failure) {
      bad = exception->getDescription().cStr();
    }
    if (bad.empty()) return deltas;
    node_.state().count_malformed();
    refuse(net::Refusal::unreadable, bad);
  }

  // Ends the connection, and keeps the node that speaks over it away for a while.
  [[noreturn]] void refuse(net::Refusal reason, const std::string& why) {
    node_.peers().keep_away(caller_.node);
    connection_->drop(reason, cut_text(why));
    kj::throwFatalException(kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                          kj::str("refused: ", cut_text(why).c_str())));
  }

  bool is_relayed(const net::StreamDelta& delta) const {
    return !net::is_table(delta.kind()) && delta.origin.node != caller_.node;
  }

  MeshNode& node_;
  crdt::Origin caller_;
  std::shared_ptr<net::IncomingPeer> connection_;
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
    if (!verdict.accepted) caller_->refused();
    if (verdict.accepted) {
      const crdt::Member& known = *node_.state().members().find(verdict.node);
      if (known.status != crdt::MemberStatus::alive) {
        net::write_member(verdict.node, known, welcome.initCaller());
      }
      caller_->set_greeted(net::Caller::node);
      results.setPeer(
          kj::heap<PeerService>(node_, crdt::Origin{verdict.node, verdict.from.epoch}, caller_));
    }
    return kj::READY_NOW;
  }

  // Over TLS any certificate of the mesh's CA may administer.
  kj::Promise<void> admin(AdminContext context) override {
    caller_->set_greeted(net::Caller::administrator);
    context.getResults().getAdmin().setAs<wire::Admin>(make_admin_service(node_, *caller_));
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
