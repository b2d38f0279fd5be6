// What a view makes of the words of other nodes about those who run and wait.
#include <doctest/doctest.h>

#include "node/mesh/fleet_view_builder.h"
#include "tests/node/replica.h"

namespace dualmesh::node {
namespace {

using crdt::MemberStatus;
using crdt::NodeId;
using std::chrono::milliseconds;

// A node that hears another one speak of one instance.
struct Listener {
  Listener() {
    node.state.join_member(NodeId{2}, alive(kWall));
    node.registry.configured(std::vector<SeedInstance>{seed("e1", "h:1")});
    builder.read_registry(node.registry);
  }
  void tell(const net::LoadGauges& load) {
    two.state.set_load(id, load);
    two.send_to(node);
  }
  policies::InstanceView seen_at(milliseconds now) {
    return builder.build(node.state, 0, now)->instances[builder.slot_of(id)];
  }
  const policies::InstanceId id = policies::instance_id_of("e1");
  Replica node{1}, two{2};
  FleetViewBuilder builder{node.config};
};

net::LoadGauges waiting_load() {
  net::LoadGauges load;
  load.queued_requests = 2;
  load.prefilling_requests = 1;
  load.prefill_left_ms = 400;
  load.waiting = {{3'000, 70}, {-200, 30}};
  return load;
}

}  // namespace

TEST_CASE("view: what others say of the time left runs out from when it was first heard") {
  Listener listener;
  listener.tell(waiting_load());
  auto seen = listener.seen_at(milliseconds(10'000));
  CHECK(seen.others_busy_until == milliseconds(10'400));
  REQUIRE(seen.others_waiting.size() == 2);  // by due time
  CHECK(seen.others_waiting[0].due == milliseconds(9'800));
  CHECK(seen.others_waiting[0].tokens == 30);
  CHECK(seen.others_waiting[1].due == milliseconds(13'000));
  CHECK(seen.others_waiting[1].tokens == 70);

  // Said again, unchanged, beside news of other instances and to a node that asks from the start.
  net::LoadGauges other;
  other.decoding_requests = 1;
  listener.two.state.set_load(policies::instance_id_of("e2"), other);
  listener.two.state.set_load(listener.id, waiting_load());
  listener.two.acknowledged = {};
  listener.two.send_to(listener.node);
  seen = listener.seen_at(milliseconds(12'000));
  CHECK(seen.others_busy_until == milliseconds(10'400));
  REQUIRE(seen.others_waiting.size() == 2);
  CHECK(seen.others_waiting[1].due == milliseconds(13'000));
}

TEST_CASE("view: the same words said anew are of the moment at which they are heard") {
  Listener listener;
  listener.tell(waiting_load());
  CHECK(listener.seen_at(milliseconds(10'000)).others_busy_until == milliseconds(10'400));
  // The instance was idle, and is as busy as before: no view was made of it meanwhile.
  listener.tell({});
  listener.tell(waiting_load());
  CHECK(listener.seen_at(milliseconds(20'000)).others_busy_until == milliseconds(20'400));
}

TEST_CASE("view: a row of another life is heard anew, though its version is the one it had") {
  Listener listener;
  listener.tell(waiting_load());
  CHECK(listener.seen_at(milliseconds(10'000)).others_busy_until == milliseconds(10'400));
  listener.two.state.raise_epoch(crdt::Epoch{kWall + 1});
  listener.node.state.join_member(NodeId{2}, alive(kWall + 1));
  listener.two.acknowledged = {};
  listener.two.send_to(listener.node);
  CHECK(listener.seen_at(milliseconds(30'000)).others_busy_until == milliseconds(30'400));
}

TEST_CASE("view: who is dead or unheard holds nobody up, and is forgotten") {
  Listener listener;
  listener.tell(waiting_load());
  CHECK(listener.seen_at(milliseconds(10'000)).others_waiting.size() == 2);
  const auto deaf =
      listener.builder.build(listener.node.state, 0, milliseconds(10'500), {NodeId{2}});
  CHECK(deaf->instances[listener.builder.slot_of(listener.id)].others_waiting.empty());
  // Heard again, it has not said anything since.
  CHECK(listener.seen_at(milliseconds(11'000)).others_busy_until == milliseconds(10'400));

  crdt::Member dead = alive(kWall);
  dead.status = MemberStatus::dead;
  listener.node.state.join_member(NodeId{2}, dead);
  const auto without = listener.seen_at(milliseconds(12'000));
  CHECK(without.others_waiting.empty());
  CHECK(without.others_busy_until == policies::Time{});
  dead.status = MemberStatus::alive;
  dead.refutations = 1;
  listener.node.state.join_member(NodeId{2}, dead);
  listener.two.acknowledged = {};
  listener.two.send_to(listener.node);
  CHECK(listener.seen_at(milliseconds(13'000)).others_busy_until == milliseconds(13'400));
}

TEST_CASE("view: absurd times and sizes are no times beyond reason") {
  Listener listener;
  net::LoadGauges absurd = waiting_load();
  absurd.prefill_left_ms = UINT32_MAX;
  absurd.waiting = {{INT32_MAX, UINT32_MAX}, {INT32_MIN, UINT32_MAX}};
  listener.tell(absurd);
  const milliseconds now(1'000'000'000'000);  // up for decades
  const auto seen = listener.seen_at(now);
  CHECK(seen.others_busy_until == now + std::chrono::minutes(1));
  REQUIRE(seen.others_waiting.size() == 2);
  CHECK(seen.others_waiting[0].due == now + milliseconds(INT32_MIN));
  CHECK(seen.others_waiting[1].due == now + milliseconds(INT32_MAX));
}

TEST_CASE("view: a prefill that is overdue stays so, whatever else its node has to tell") {
  Listener listener;
  net::LoadGauges load = waiting_load();
  load.prefilling_tokens = 700;
  listener.tell(load);
  CHECK(listener.seen_at(milliseconds(10'000)).others_busy_until == milliseconds(10'400));
  load.prefill_left_ms = 0;
  for (int second = 11; second < 30; ++second) {
    ++load.queued_requests;
    listener.tell(load);
    CHECK(listener.seen_at(std::chrono::seconds(second)).others_busy_until == milliseconds(10'400));
  }
  // Another one is believed anew, also one that should be done at once.
  load.prefilling_tokens = 1;
  listener.tell(load);
  CHECK(listener.seen_at(milliseconds(31'000)).others_busy_until == milliseconds(31'000));
  load.prefill_left_ms = 200;
  listener.tell(load);
  CHECK(listener.seen_at(milliseconds(32'000)).others_busy_until == milliseconds(32'200));
}

TEST_CASE("view: who waits at a node that has told nothing new for minutes is not waited for") {
  Listener listener;
  listener.tell(waiting_load());
  listener.seen_at(milliseconds(10'000));
  CHECK(listener.seen_at(milliseconds(130'000)).others_waiting.size() == 2);
  const auto silent = listener.seen_at(milliseconds(130'001));
  CHECK(silent.others_waiting.empty());
  CHECK(silent.others.queued_requests == 2);  // it may still come: it is load
  net::LoadGauges load = waiting_load();
  ++load.queued_requests;
  listener.tell(load);
  CHECK(listener.seen_at(milliseconds(140'000)).others_waiting.size() == 2);
}

TEST_CASE("view: absurd gauges of many nodes do not wrap when they are added up") {
  Listener listener;
  net::LoadGauges absurd;
  absurd.queued_requests = absurd.prefilling_requests = absurd.decoding_requests = UINT32_MAX;
  absurd.queued_tokens = absurd.prefilling_tokens = absurd.decoding_tokens = UINT64_MAX - 1;
  listener.tell(absurd);
  Replica three(3);
  listener.node.state.join_member(NodeId{3}, alive(kWall));
  three.state.set_load(listener.id, absurd);
  three.send_to(listener.node);
  const policies::Load others = listener.seen_at(milliseconds(1)).others;
  CHECK(others.requests() == 6'000'000);
  CHECK(others.pending_tokens() == 16'000'000'000);
  CHECK(others.decoding_tokens == 8'000'000'000);
}

}  // namespace dualmesh::node
