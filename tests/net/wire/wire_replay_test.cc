// A node of today and the recorded words of nodes of protocol version 2, whose load rows say who
// waits; what it must hold afterwards is written out here by hand, from what
// wire_record_main.cc had its nodes do.
#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>
#include <kj/io.h>

#include <map>
#include <set>

#include "net/mesh_codec.h"
#include "tests/net/wire/wire_file.h"
#include "tests/sim/sim_cluster.h"

namespace dualmesh::wire_test {
namespace {

using policies::Lifecycle;

const std::string kRecorded = DUALMESH_WIRE "/protocol-2.wire";

std::string all_of(const std::vector<WireRecord>& records, Direction direction) {
  std::string bytes;
  for (const WireRecord& record : records) {
    if (record.direction == direction) bytes += record.bytes;
  }
  return bytes;
}

// The node that is called, alone but for the recorded caller.
struct Callee {
  sim::SimCluster cluster{7};
  std::unique_ptr<net::Dialer> dialer;
  kj::Own<kj::AsyncIoStream> stream;
  kj::Promise<void> dialling = nullptr;
  std::string answers;

  Callee() {
    cluster.add_many(4);
    cluster.node(1).config.instances.clear();  // all that it knows it is told
    cluster.start(1);
    cluster.network().listen("n0:7000", [](auto) {});  // hangs up on whoever calls back
    dialer = cluster.network().dialer_of("n0:7000");
    dialling = dialer->dial("n1:7000")
                   .then([this](auto connected) { stream = kj::mv(connected); })
                   .eagerlyEvaluate(nullptr);
    cluster.run_for(100);
    REQUIRE(stream.get() != nullptr);
  }
  void hear(const std::string& bytes) {
    auto written = stream->write(bytes.data(), bytes.size()).eagerlyEvaluate(nullptr);
    char buffer[65'536];
    auto read = stream->tryRead(buffer, 1, sizeof buffer)
                    .then([&](std::size_t n) { answers.append(buffer, n); })
                    .eagerlyEvaluate(nullptr);
    cluster.run_for(5);
  }
  const node::MeshNode& node() { return *cluster.node(1).mesh; }
  std::uint64_t instance(const char* name) { return policies::instance_id_of(name); }
};

const crdt::NodeId kN0 = crdt::node_id_of("n0");
const crdt::NodeId kN2 = crdt::node_id_of("n2");
const crdt::NodeId kN3 = crdt::node_id_of("n3");

template <class Feed>
const Feed& feed_of(const crdt::Columns<Feed>& columns, crdt::NodeId writer) {
  const auto* column = columns.find(writer);
  REQUIRE(column != nullptr);
  return column->feed;
}

// Calls `visit(message)` for each RPC message of one direction.
template <class Visit>
void for_each_message(const std::string& bytes, Visit&& visit) {
  kj::ArrayInputStream stream({reinterpret_cast<const kj::byte*>(bytes.data()), bytes.size()});
  while (stream.tryGetReadBuffer().size() > 0) {
    capnp::InputStreamMessageReader message(stream);
    visit(message.getRoot<capnp::rpc::Message>());
  }
}

struct Call {  // zeroes: for the bootstrap object
  std::uint64_t interface_id = 0;
  std::uint16_t method = 0;
  auto operator<=>(const Call&) const = default;
};

constexpr Call kHello{capnp::typeId<wire::Bootstrap>(), 0};
constexpr Call kPush{capnp::typeId<wire::Peer>(), 0};
constexpr Call kPing{capnp::typeId<wire::Peer>(), 1};
constexpr Call kPingFor{capnp::typeId<wire::Peer>(), 2};
constexpr Call kPositions{capnp::typeId<wire::Peer>(), 3};

}  // namespace

TEST_CASE("a node of today holds what a recorded node of protocol version 2 told it") {
  Callee callee;
  bool farewell = false;
  const auto& state = callee.node().state();
  for (const WireRecord& record : read_wire_file(kRecorded)) {
    if (record.direction == Direction::to_callee) callee.hear(record.bytes);
    if (record.direction != Direction::mark) continue;
    farewell = true;

    for (const char* name : {"n0", "n2", "n3"}) {
      const auto* member = state.members().find(crdt::node_id_of(name));
      REQUIRE(member != nullptr);
      CHECK(member->status == crdt::MemberStatus::alive);
      CHECK(member->name == name);
      CHECK(member->mesh_address == std::string(name) + ":7000");
      CHECK(member->http_address == std::string(name) + ":8080");
    }
    const auto& registry = callee.node().registry();
    const auto east_1 = registry.find("east-1");
    REQUIRE(east_1.has_value());
    CHECK(east_1->address == "10.0.0.1:8000");
    CHECK(east_1->models == std::vector<std::string>{"llama"});
    CHECK(east_1->lifecycle == Lifecycle::active);
    const auto east_2 = registry.find("east-2");
    REQUIRE(east_2.has_value());
    CHECK(east_2->models == std::vector<std::string>{"llama", "qwen"});
    CHECK(east_2->weight == 2.0);
    CHECK(east_2->lifecycle == Lifecycle::draining);
    const auto west_1 = registry.find("west-1");
    REQUIRE(west_1.has_value());
    CHECK(west_1->address == "[2001:db8::7]:9000");
    CHECK(west_1->weight == 0.5);
    REQUIRE(registry.find("gone-1").has_value());
    CHECK(registry.find("gone-1")->lifecycle == Lifecycle::removed);
    CHECK(registry.records().size() == 4);

    const auto* policy = state.settings().find({"policy"});
    REQUIRE(policy != nullptr);
    std::map<crdt::NodeId, std::string> said;
    for (const auto& sibling : policy->siblings()) said[sibling.dot.writer] = sibling.value;
    CHECK(said == std::map<crdt::NodeId, std::string>{{kN0, "round_robin"}, {kN3, "dualmap"}});

    REQUIRE(state.depth().size() == 1);
    state.depth().for_each([](const net::DepthKey& key, const crdt::Max<std::uint32_t>& deeper) {
      CHECK(key.prefix == 0xfeed);
      CHECK(deeper.value == 6);
    });

    const auto& load = feed_of(state.loads(), kN0);
    REQUIRE(load.find(callee.instance("east-1")) != nullptr);
    CHECK(load.find(callee.instance("east-1"))->queued_requests == 3);
    CHECK(load.find(callee.instance("east-1"))->queued_tokens == 4'096);
    CHECK(load.find(callee.instance("east-2")) == nullptr);  // it was, and has gone
    const auto& relayed = feed_of(state.loads(), kN3);
    REQUIRE(relayed.find(callee.instance("east-1")) != nullptr);
    CHECK(relayed.find(callee.instance("east-1"))->queued_tokens == 70'000);
    REQUIRE(relayed.find(callee.instance("east-2")) != nullptr);
    CHECK(relayed.find(callee.instance("east-2"))->queued_requests == 2);
    const auto& own_row = *load.find(callee.instance("east-1"));
    CHECK(own_row.prefill_left_ms == 650);
    CHECK(own_row.waiting == net::WaitingRows{{-300, 96}, {1'200, 3'000}, {4'700, 1'000}});
    const auto& relayed_row = *relayed.find(callee.instance("east-2"));
    CHECK(relayed_row.prefill_left_ms == 20);
    CHECK(relayed_row.waiting == net::WaitingRows{{5'000, 2'000}});

    const auto& health = feed_of(state.healths(), kN0);
    REQUIRE(health.find(callee.instance("east-2")) != nullptr);
    CHECK(health.find(callee.instance("east-1"))->healthy);
    CHECK_FALSE(health.find(callee.instance("east-2"))->healthy);
    const auto* ready =
        feed_of(state.statuses(), kN0).find(static_cast<std::uint8_t>(node::StatusKey::ready));
    REQUIRE(ready != nullptr);
    CHECK(ready->value == 1);

    const auto& placed = feed_of(state.residencies(), kN0);
    CHECK(placed.size() == 1'500);
    CHECK(placed.contains({callee.instance("east-1"), 1'000'000}));
    CHECK(placed.contains({callee.instance("east-1"), 1'001'499}));
    const auto& placed_by_n3 = feed_of(state.residencies(), kN3);
    CHECK(placed_by_n3.size() == 2);
    CHECK(placed_by_n3.contains({callee.instance("east-2"), 42}));
  }
  REQUIRE(farewell);
  CHECK(state.members().find(kN0)->status == crdt::MemberStatus::left);
  CHECK(state.loads().find(kN0) == nullptr);
  CHECK(state.counters().malformed == 0);
  CHECK(callee.node().refusals().all() == 0);
  // It has answered as the recorded callee did: never with an exception.
  std::size_t returns = 0;
  for_each_message(callee.answers, [&](capnp::rpc::Message::Reader message) {
    CHECK_FALSE(message.isAbort());
    if (!message.isReturn()) return;
    ++returns;
    CHECK(message.getReturn().isResults());
  });
  CHECK(returns > 20);
}

TEST_CASE("today's caller understands the recorded answers of protocol version 2") {
  const auto records = read_wire_file(kRecorded);
  std::map<std::uint32_t, std::vector<Call>> history;  // by id; they are used again when answered
  std::map<Call, std::size_t> calls;
  std::set<net::StreamKind> kinds;
  std::map<std::uint32_t, std::vector<std::size_t>> pushed;  // deltas in each push, by id
  for_each_message(all_of(records, Direction::to_callee), [&](auto message) {
    if (message.isBootstrap()) history[message.getBootstrap().getQuestionId()].push_back({});
    if (!message.isCall()) return;
    const auto call = message.getCall();
    const Call which{call.getInterfaceId(), call.getMethodId()};
    history[call.getQuestionId()].push_back(which);
    ++calls[which];
    if (which != kPush) return;
    const auto params = call.getParams().getContent().template getAs<wire::Peer::PushParams>();
    pushed[call.getQuestionId()].push_back(params.getDeltas().size());
    for (auto delta : params.getDeltas()) {
      const auto read = net::read_delta(delta);
      REQUIRE(read.has_value());
      kinds.insert(read->kind());
    }
  });
  CHECK(kinds.size() == net::kStreamKinds);  // the recording leaves no kind of stream out
  CHECK(calls[kHello] == 1);
  CHECK(calls[kPush] > 10);
  CHECK(calls[kPing] > 10);
  CHECK(calls[kPingFor] > 0);
  CHECK(calls[kPositions] > 0);

  std::map<std::uint32_t, std::size_t> answered;
  std::map<std::uint32_t, std::size_t> pushes_answered;
  bool relaying_n2 = false;
  std::uint64_t held_load = 0;
  for_each_message(all_of(records, Direction::to_caller), [&](auto message) {
    if (!message.isReturn()) return;
    const std::uint32_t id = message.getReturn().getAnswerId();
    const Call which = history[id].at(answered[id]++);
    REQUIRE(message.getReturn().isResults());
    const auto content = message.getReturn().getResults().getContent();
    if (which == kHello) {
      const auto welcome = content.template getAs<wire::Bootstrap::HelloResults>().getWelcome();
      CHECK(welcome.getAccepted());
      CHECK(welcome.getProtocolVersion() == 2);
      const auto from = net::read_member(welcome.getFrom());
      REQUIRE(from.has_value());
      CHECK(from->key == crdt::node_id_of("n1"));
    } else if (which == kPush) {
      const auto positions =
          net::read_positions(content.template getAs<wire::Peer::PushResults>().getPositions());
      REQUIRE(positions.has_value());
      CHECK(positions->size() == pushed[id].at(pushes_answered[id]++));
    } else if (which == kPing) {
      const auto ping = content.template getAs<wire::Peer::PingResults>();
      CHECK(ping.getOrigin().getNode() == crdt::node_id_of("n1").value);
      for (const std::uint64_t writer : ping.getRelaying()) {
        relaying_n2 = relaying_n2 || writer == kN2.value;
      }
      held_load = std::max(held_load, net::read_feed_positions(ping.getHeld()).load.value);
    } else if (which == kPingFor) {
      content.template getAs<wire::Peer::PingForResults>().getReached();
    } else if (which == kPositions) {
      const auto answer = content.template getAs<wire::Peer::PositionsResults>();
      CHECK(answer.getRoot() != 0);
      CHECK(net::read_positions(answer.getPositions()).has_value());
    }
  });
  CHECK(relaying_n2);
  CHECK(held_load > 0);
}

}  // namespace dualmesh::wire_test
