// A node on a real socket, and what broken and hostile peers send it. Every case ends alike: the
// link is dropped or the hello refused, the reason is counted, the node serves on, and what it
// shares is what it was.
#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include "tests/node/bad_peer.h"

namespace dualmesh::node {
namespace {

std::string u32(std::uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

using FillDelta = std::function<void(wire::Delta::Builder)>;
struct BadDelta {
  std::string what;
  FillDelta fill;
};

constexpr unsigned kTooManyRows = net::CodecLimits::kRows + 1;

std::vector<BadDelta> bad_deltas() {
  const std::string long_name(net::CodecLimits::kNameBytes + 1, 'x');
  const std::string long_text(net::CodecLimits::kTextBytes + 1, 'x');
  return {
      {"a member with a status that does not exist",
       [](wire::Delta::Builder d) { d.initMembership(1)[0].setStatus(9); }},
      {"a member with too long a name",
       [=](wire::Delta::Builder d) { d.initMembership(1)[0].setName(long_name); }},
      {"an instance with too long a name",
       [=](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::REGISTRY);
         d.initRegistry(1)[0].setInstance(long_name);
       }},
      {"an instance's field with too long a value",
       [=](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::REGISTRY);
         d.initRegistry(1)[0].setValue(long_text);
       }},
      {"a setting with too many concurrent values",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::SETTINGS);
         d.initSettings(1)[0].initSiblings(net::CodecLimits::kSiblings + 1);
       }},
      {"too many depth marks",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::DEPTH);
         d.initDepth(kTooManyRows);
       }},
      {"load in reversed order",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::LOAD);
         d.setTo(2);
         auto rows = d.initLoad(2);
         rows[0].setInstance(1);
         rows[0].setVersion(2);
         rows[1].setInstance(2);
         rows[1].setVersion(1);
       }},
      {"a load that ends before it begins",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::LOAD);
         d.setFrom(5);
         d.setTo(2);
       }},
      {"a row beyond the delta's end",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::HEALTH);
         d.setTo(1);
         d.initHealth(1)[0].setVersion(7);
       }},
      {"too many rows of health",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::HEALTH);
         d.initHealth(kTooManyRows);
       }},
      {"a status key out of order",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::STATUS);
         d.setTo(1);
         auto rows = d.initStatus(2);
         rows[0].setVersion(1);
         rows[1].setVersion(1);
       }},
      {"placements without their versions",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::RESIDENCY);
         d.initResidency(3);
         d.initResidencyVersions(2);
       }},
      {"rows of another kind than it says",
       [](wire::Delta::Builder d) {
         d.setKind(wire::StreamKind::LOAD);
         d.initHealth(1);
       }},
      {"a kind from the future",
       [](wire::Delta::Builder d) { d.setKind(static_cast<wire::StreamKind>(77)); }},
  };
}

}  // namespace

TEST_CASE("bytes that are no Cap'n Proto message end the connection") {
  Victim victim;
  BadPeer peer(victim.mesh->port());
  CHECK(peer.closes_on(u32(0xFFFFFFFF) + "and on"));
  CHECK(peer.closes_on(u32(511) + u32(0)));
  CHECK(peer.closes_on("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
  CHECK(peer.closes_on("\x16\x03\x01\x02\x2b\x01\x02\x27 and the rest of a TLS hello"));
  CHECK(eventually([&] { return refused(*victim.mesh, "framing") == 4; }));
  // Beyond what a stranger may send; then beyond what anybody may.
  CHECK(peer.closes_on(u32(0) + u32(8 * 1024 + 1)));
  CHECK(peer.closes_on(u32(1) + u32(0xFFFFFFFF) + u32(0xFFFFFFFF) + u32(0)));
  CHECK(eventually([&] { return refused(*victim.mesh, "oversize") == 2; }));
  // Well framed, and nothing in it: an empty message, a root that points beyond its segment.
  CHECK(peer.closes_on(u32(0) + u32(0)));
  CHECK(peer.closes_on(u32(0) + u32(1) + u32(0x7FFFFFFC) + u32(0x00FF00FF)));
  CHECK(eventually([&] { return refused(*victim.mesh, "protocol") == 2; }));
  CHECK(victim.untouched());
  CHECK(victim.serves(peer));
}

TEST_CASE("calls that break the RPC protocol, or are never finished, end the connection") {
  Victim victim;
  BadPeer peer(victim.mesh->port());
  SUBCASE("the answer to a question that was never asked") {
    auto stream = peer.connect();
    capnp::MallocMessageBuilder message;
    message.initRoot<capnp::rpc::Message>().initReturn().setAnswerId(42);
    capnp::writeMessage(*stream, message).wait(peer.scope());
    CHECK(peer.closed(*stream));
    CHECK(eventually([&] { return refused(*victim.mesh, "protocol") == 1; }));
  }
  SUBCASE("questions without end") {
    auto stream = peer.connect();
    auto failure = kj::runCatchingExceptions([&]() {
      for (std::uint32_t id = 0; id < 100; ++id) {
        capnp::MallocMessageBuilder message;
        message.initRoot<capnp::rpc::Message>().initBootstrap().setQuestionId(id);
        capnp::writeMessage(*stream, message).wait(peer.scope());
      }
    });
    CHECK(peer.closed(*stream));
    CHECK(eventually([&] { return refused(*victim.mesh, "calls") == 1; }));
  }
  SUBCASE("a message beyond the limit from an accepted node") {
    Linked linked(peer, victim, "evil");
    victim.before = victim.settled();
    auto push = linked.peer_of.pushRequest();
    auto deltas = push.initDeltas(3);
    for (auto delta : deltas) delta.initDepth(net::CodecLimits::kRows);  // 3 x 3 MiB
    const std::string why = outcome(push.send(), peer.scope());
    CHECK_MESSAGE(eventually([&] { return refused(*victim.mesh, "oversize") == 1; }), why);
  }
  CHECK(victim.untouched());
  CHECK(victim.serves(peer));
}

TEST_CASE("a hello that does not belong here is refused with its reason") {
  Victim victim;
  BadPeer peer(victim.mesh->port());
  struct BadHello {
    const char* reason;
    const char* words;
    std::function<void(wire::Hello::Builder)> spoil;
  };
  const std::vector<BadHello> cases = {
      {"cluster", "cluster is 'other' at evil",
       [](wire::Hello::Builder h) { h.getParameters().setCluster("other"); }},
      {"version", "protocol version is 4711 at evil",
       [](wire::Hello::Builder h) { h.setProtocolVersion(4711); }},
      {"parameters", "ring block bytes is 7 at evil",
       [](wire::Hello::Builder h) { h.getParameters().setBlockBytes(7); }},
      {"identity", "is not that of the name 'evil'",
       [](wire::Hello::Builder h) { h.getFrom().setNode(4711); }},
      {"identity", "is not that of the name 'evil'",
       [](wire::Hello::Builder h) { h.getFrom().setNode(crdt::node_id_of("a").value); }},
      {"epoch", "ahead of the clock of a",
       [](wire::Hello::Builder h) { h.getFrom().setEpoch(~std::uint64_t{0} / 2); }},
      {"name_in_use", "the node name 'a' is in use",
       [](wire::Hello::Builder h) {
         h.getFrom().setName("a");
         h.getFrom().setNode(crdt::node_id_of("a").value);
       }},
      {"unreadable", "name too long",
       [](wire::Hello::Builder h) { h.getFrom().setName(std::string(300, 'x')); }},
      {"unreadable", "member status", [](wire::Hello::Builder h) { h.getFrom().setStatus(200); }},
  };
  for (const BadHello& bad : cases) {
    CAPTURE(bad.words);
    const int count = refused(*victim.mesh, bad.reason);
    net::MeshConnection connection(peer.connect());
    auto request = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
    honest_hello("evil", victim.config, request.initHello());
    bad.spoil(request.getHello());
    auto answer = request.send().wait(peer.scope());
    CHECK_FALSE(answer.getWelcome().getAccepted());
    const std::string words = answer.getWelcome().getRefusal().cStr();
    CHECK_MESSAGE(words.find(bad.words) != std::string::npos, words);
    CHECK_FALSE(answer.hasPeer());
    CHECK(refused(*victim.mesh, bad.reason) == count + 1);
  }
  CHECK(victim.untouched());
  CHECK(victim.serves(peer));
}

TEST_CASE("a push that cannot be read ends the link, changes nothing, and keeps the sender away") {
  Victim victim;
  BadPeer peer(victim.mesh->port());
  int count = 0;
  for (const BadDelta& bad : bad_deltas()) {
    CAPTURE(bad.what);
    Linked linked(peer, victim, "evil-" + std::to_string(count));
    victim.before = victim.settled();
    auto push = linked.peer_of.pushRequest();
    auto delta = push.initDeltas(1)[0];
    delta.initOrigin().setNode(linked.origin.node.value);
    delta.getOrigin().setEpoch(linked.origin.epoch.value);
    bad.fill(delta);
    const std::string why = outcome(push.send(), peer.scope());
    CHECK_MESSAGE(why != "", "it was taken");
    ++count;
    CHECK(eventually([&] { return refused(*victim.mesh, "unreadable") >= count; }));
    CHECK(outcome(linked.peer_of.pingRequest().send(), peer.scope()) != "");
    CHECK(victim.untouched());
  }
  net::MeshConnection connection(peer.connect());
  auto request = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
  honest_hello("evil-0", victim.config, request.initHello());
  CHECK_FALSE(request.send().wait(peer.scope()).getWelcome().getAccepted());
  CHECK(victim.serves(peer));
}

TEST_CASE("pointers that lead too deep end the link") {
  Victim victim;
  BadPeer peer(victim.mesh->port());
  Linked linked(peer, victim, "evil");
  victim.before = victim.settled();
  // Lists within lists where the members should be, as only a builder of one's own makes them.
  auto push = linked.peer_of.pushRequest();
  auto deep = capnp::toAny(push.initDeltas(1)[0]);
  capnp::MallocMessageBuilder builder;
  auto at = builder.initRoot<capnp::AnyPointer>();
  for (int level = 0; level < 40; ++level) {
    at = at.initAsAnyStruct(0, 1).getPointerSection()[0];
  }
  deep.getPointerSection()[1].set(builder.getRoot<capnp::AnyPointer>().asReader());
  CHECK(outcome(push.send(), peer.scope()) != "");
  CHECK(eventually([&] { return refused(*victim.mesh, "unreadable") == 1; }));
  CHECK(victim.untouched());
  CHECK(victim.serves(peer));
}

TEST_CASE("whoever connects and says nothing is closed; too many of them do not keep a node out") {
  MeshConfig config = quiet_config();
  SUBCASE("in time") {
    config.hello_timeout_ms = 100;
    Victim victim(config);
    BadPeer peer(victim.mesh->port());
    auto stream = peer.connect();
    CHECK(peer.closed(*stream));
    CHECK(refused(*victim.mesh, "silent") == 1);
    CHECK(victim.untouched());
  }
  SUBCASE("in number") {
    config.hello_timeout_ms = 600'000;
    Victim victim(config);
    BadPeer peer(victim.mesh->port());
    std::vector<kj::Own<kj::AsyncIoStream>> silent;
    for (int i = 0; i < 100; ++i) silent.push_back(peer.connect());
    CHECK(victim.serves(peer));
    CHECK(eventually([&] { return refused(*victim.mesh, "connections") >= 36; }));
    CHECK(peer.closed(*silent.front()));  // the oldest gave way
    CHECK(victim.serves(peer));
    CHECK(victim.untouched());
  }
}

TEST_CASE("a peer beyond its rate is read more slowly, and loses nothing") {
  MeshConfig config = quiet_config();
  config.max_messages_per_s = 100;
  Victim victim(config);
  BadPeer peer(victim.mesh->port());
  Linked linked(peer, victim, "busy");
  int answered = 0;
  for (int round = 0; round < 4; ++round) {  // each call is two messages: call and finish
    std::vector<kj::Promise<void>> pings;
    for (int i = 0; i < 50; ++i) {
      pings.push_back(linked.peer_of.pingRequest().send().ignoreResult());
    }
    for (auto& ping : pings) {
      ping.wait(peer.scope());
      ++answered;
    }
  }
  CHECK(answered == 200);
  CHECK(eventually([&] {
    const std::string text = victim.mesh->metrics();
    const auto at = text.find("\ndualmesh_mesh_throttled_total ");
    return at != std::string::npos && text.compare(at + 31, 2, "0\n") != 0;
  }));
  CHECK(victim.serves(peer));
}

}  // namespace dualmesh::node
