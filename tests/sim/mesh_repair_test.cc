// What goes wrong between nodes and must come right by itself: clocks, lives, lost rows, refusals.
#include <doctest/doctest.h>

#include "node/mesh/repeat.h"
#include "tests/sim/settled.h"

namespace dualmesh::sim {
namespace {

std::uint32_t others_queued(SimNode& at, std::size_t slot) {
  return at.mesh->view()->instances[slot].others.queued_requests;
}

crdt::MemberStatus status_of(SimNode& at, const std::string& name) {
  return at.mesh->state().members().find(crdt::node_id_of(name))->status;
}

void say_load(SimNode& at, policies::Slot slot, std::uint32_t queued) {
  policies::Load load;
  load.queued_requests = queued;
  at.host.say_load(slot, load);
  at.mesh->local_changes();
}

}  // namespace

TEST_CASE("pushes go on when the epoch rises while a hello is under way") {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6, 7, 8}) {
    CAPTURE(seed);
    SimCluster cluster(seed);
    cluster.add_many(3);
    cluster.node(2).config.seeds = {"n0:7000"};
    // n1 knew the former life of n0, n2 has never heard of it.
    cluster.start(0);
    cluster.start(1);
    REQUIRE(cluster.run_until([&] { return cluster.all_ready(); }, 3'000) >= 0);
    cluster.crash(0);
    cluster.network().set_cut("n1:7000", "n2:7000", true);
    cluster.start(2);
    cluster.node(0).clock_skew_ms = -60'000;
    cluster.node(0).config.seeds = {"n1:7000", "n2:7000"};
    cluster.start(0);
    cluster.run_for(2'000);
    REQUIRE(cluster.node(0).mesh->epoch_raises() > 0);
    say_load(cluster.node(0), 0, 5);
    CHECK(cluster.run_until([&] { return others_queued(cluster.node(2), 0) == 5; }, 1'000) >= 0);
    for (const auto& [node, peer] : cluster.node(0).mesh->peers().all()) {
      CHECK(peer->link != nullptr);
      CHECK(peer->synchronised);
    }
  }
}

TEST_CASE("a peer that raised its epoch without losing our link is met anew") {
  SimCluster cluster(31);
  start_and_settle(cluster, 3);
  auto& raising = *cluster.node(1).mesh;
  const crdt::Epoch before = raising.state().self().epoch;
  crdt::Member rumour = raising.state().self_member();
  rumour.epoch = crdt::Epoch{before.value + 1'000};
  cluster.node(2).mesh->state().join_member(raising.state().self().node, rumour);
  cluster.run_for(3'000);
  const crdt::Epoch after = raising.state().self().epoch;
  REQUIRE(after > rumour.epoch);
  for (const std::size_t i : {0, 2}) {
    const auto* peer = cluster.node(i).mesh->peers().find(raising.state().self().node);
    REQUIRE(peer != nullptr);
    CHECK(peer->epoch == after);
    CHECK(peer->synchronised);
  }
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 2'000) >= 0);
}

TEST_CASE("rows refused by a clock that is behind come again when it is right") {
  SimCluster cluster(32);
  cluster.add_many(3);
  cluster.node(2).clock_skew_ms = -120'000;
  cluster.start(0);
  cluster.start(1);
  REQUIRE(cluster.run_until([&] { return cluster.all_ready(); }, 3'000) >= 0);
  REQUIRE(cluster.node(0)
              .mesh->change(node::SeedInstance{"x1", "10.0.1.1:9000", {"m"}, 1.0})
              .has_value());
  cluster.start(2);
  cluster.run_for(3'000);
  SimNode& late = cluster.node(2);
  CHECK_FALSE(late.mesh->registry().find("x1").has_value());
  CHECK_FALSE(late.mesh->ready());
  CHECK(late.mesh->why_not_ready().find("receiving the state of") != std::string::npos);
  // The other streams go on, and the refused rows do not travel with each of their pushes.
  const auto sent = [&] {
    return cluster.node(0).mesh->peers().find(crdt::node_id_of("n2"))->replicator->stats();
  };
  const std::uint64_t refused = sent().refused_deltas;
  for (std::uint32_t i = 1; i <= 20; ++i) {
    say_load(cluster.node(0), 0, i);
    cluster.run_for(50);
  }
  CHECK(others_queued(late, 0) == 20);
  CHECK(sent().refused_deltas - refused <= 2);
  late.clock_skew_ms = 0;
  CHECK(cluster.run_until([&] { return late.mesh->ready() && cluster.converged(); }, 6'000) >= 0);
  CHECK(late.mesh->registry().find("x1").has_value());
}

TEST_CASE("a row within a range that was acknowledged already is taken all the same") {
  SimCluster cluster(33);
  start_and_settle(cluster, 2);
  auto& from = cluster.node(0).mesh->state();
  auto& to = cluster.node(1).mesh->state();
  // As if n1 had taken what n0 is about to write.
  net::RegistryTable::Delta nothing;
  nothing.from_excluded = from.registry().version();
  nothing.to = crdt::Version{nothing.from_excluded.value + 5};
  to.apply({from.self(), nothing}, from.self(), cluster.node(1).mesh->context().wall_ms());
  REQUIRE(cluster.node(0)
              .mesh->change(node::SeedInstance{"x1", "10.0.1.1:9000", {"m"}, 1.0})
              .has_value());
  cluster.run_for(500);
  CHECK(cluster.node(1).mesh->registry().find("x1").has_value());
  CHECK(cluster.node(0).mesh->peers().find(to.self().node)->replicator->in_step());
}

TEST_CASE("what the disk had is taken although the clock went back, and outlives a whole restart") {
  SimCluster cluster(34);
  start_and_settle(cluster, 3);
  REQUIRE(cluster.node(1).mesh->change("e1", policies::Lifecycle::removed).has_value());
  REQUIRE(cluster.node(2).mesh->set_policy("round_robin").has_value());
  REQUIRE(cluster.run_until([&] { return cluster.converged(); }, 1'000) >= 0);
  const auto registry = cluster.node(0).mesh->state().registry().delta_since({}, 1'000);
  const auto settings = cluster.node(0).mesh->state().settings().delta_since({}, 1'000);
  for (std::size_t i = 0; i < 3; ++i) {
    cluster.crash(i);
    cluster.node(i).before_start = [=](node::MeshNode& mesh) { mesh.restore(registry, settings); };
  }
  SUBCASE("all clocks are good") {}
  SUBCASE("all went back by an hour") {
    for (std::size_t i = 0; i < 3; ++i) cluster.node(i).clock_skew_ms = -3'600'000;
  }
  SUBCASE("one went back by a minute") { cluster.node(0).clock_skew_ms = -60'000; }
  cluster.start_all();
  CHECK(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 4'000) >= 0);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(cluster.node(i).mesh->registry().find("e1")->lifecycle == policies::Lifecycle::removed);
    CHECK(cluster.node(i).mesh->view()->settings.policy == "round_robin");
  }
  // Commands given now follow the old ones and reach everybody.
  REQUIRE(cluster.node(1).mesh->change("e2", policies::Lifecycle::draining).has_value());
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 500) >= 0);
}

TEST_CASE("a full table forgets the oldest dead member everywhere alike") {
  SimCluster cluster(35);
  cluster.add_many(5);
  for (std::size_t i = 0; i < 5; ++i) cluster.node(i).config.max_members = 4;
  for (std::size_t i = 0; i < 4; ++i) {
    cluster.start(i);
    cluster.run_for(50);
  }
  REQUIRE(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 3'000) >=
          0);
  cluster.crash(2);
  cluster.crash(3);
  REQUIRE(cluster.run_until([&] { return cluster.node(0).mesh->view()->live_nodes == 2; }, 5'000) >=
          0);
  // Days go by, and nothing is forgotten for that.
  cluster.node(0).mesh->state().expire_placements(std::chrono::hours(100));
  CHECK(cluster.node(0).mesh->state().members().size() == 4);
  cluster.start(4);
  CHECK(cluster.run_until([&] { return cluster.all_ready() && cluster.converged(); }, 5'000) >= 0);
  for (const std::size_t i : {0, 1, 4}) {
    const auto& members = cluster.node(i).mesh->state().members();
    CHECK(members.size() == 4);
    CHECK(members.find(crdt::node_id_of("n2")) == nullptr);
    CHECK(members.find(crdt::node_id_of("n3")) != nullptr);
  }
}

TEST_CASE("a node whose only acquaintance died before it was ready founds a mesh") {
  SimCluster cluster(36);
  cluster.add_many(2);
  for (std::size_t i = 0; i < 2; ++i) cluster.node(i).config.join_timeout_ms = 8'000;
  cluster.start_all();
  REQUIRE(cluster.run_until([&] { return cluster.node(1).mesh->peers().any_other(); }, 1'000) >= 0);
  cluster.crash(0);
  const double took = cluster.run_until([&] { return cluster.node(1).mesh->ready(); }, 10'000);
  CHECK(took > 3'000);  // not before the other is taken for dead
  CHECK_FALSE(cluster.node(1).mesh->peers().any_other());
}

TEST_CASE("a misconfigured stranger does not stop a node that serves, and a refusal ends with it") {
  SimCluster cluster(37);
  cluster.add_many(2);
  cluster.node(1).config.cluster = "elsewhere";
  cluster.start(0);
  cluster.run_for(6'000);
  REQUIRE(cluster.node(0).mesh->ready());  // the first of its mesh
  cluster.start(1);
  cluster.run_for(3'000);
  REQUIRE(cluster.node(0).mesh->peers().refused());
  CHECK(cluster.node(0).mesh->ready());
  CHECK_FALSE(cluster.node(1).mesh->ready());
  cluster.crash(0);
  CHECK(cluster.run_until([&] { return cluster.node(1).mesh->ready(); }, 8'000) >= 0);
  CHECK_FALSE(cluster.node(1).mesh->peers().refused());
}

TEST_CASE("a depth mark made while the clock was ahead ends when the clock is right") {
  SimCluster cluster(39);
  start_and_settle(cluster, 3);
  SimNode& ahead = cluster.node(1);
  ahead.clock_skew_ms = 600'000;
  ahead.host.say_depth(7, 2);
  ahead.mesh->local_changes();
  cluster.run_for(100);
  REQUIRE(ahead.mesh->state().depth().size() == 1);
  REQUIRE(cluster.node(0).mesh->state().depth().size() == 0);  // too far ahead to be taken
  ahead.clock_skew_ms = 0;
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 1'000) >= 0);
  CHECK(ahead.mesh->state().depth().size() == 0);
}

TEST_CASE("what a peer refused for its clock is offered again whatever the size of the mesh") {
  for (const std::size_t count : {6, 32}) {
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      CAPTURE(count);
      CAPTURE(seed);
      SimCluster cluster(seed);
      start_and_settle(cluster, count);
      SimNode& behind = cluster.node(2);
      behind.clock_skew_ms = -120'000;
      REQUIRE(cluster.node(0)
                  .mesh->change(node::SeedInstance{"x1", "10.0.1.1:9000", {"m"}, 1.0})
                  .has_value());
      cluster.run_for(500);
      REQUIRE_FALSE(behind.mesh->registry().find("x1").has_value());
      const auto& sender = *cluster.node(0).mesh->peers().find(behind.mesh->state().self().node);
      REQUIRE(sender.replicator->holds(net::StreamKind::registry));
      // Once in 2 to 5 s, and not with every push.
      const std::uint64_t refused = sender.replicator->stats().refused_deltas;
      cluster.run_for(20'000);
      CHECK(sender.replicator->stats().refused_deltas - refused >= 3);
      CHECK(sender.replicator->stats().refused_deltas - refused <= 10);
      behind.clock_skew_ms = 0;
      const auto all_in_step = [&] {
        for (std::size_t i = 0; i < count; ++i) {
          for (const auto& [node, peer] : cluster.node(i).mesh->peers().all()) {
            if (!peer->replicator->in_step()) return false;
          }
        }
        return true;
      };
      CHECK(cluster.run_until(all_in_step, 5'100, 10) >= 0);
      CHECK(behind.mesh->registry().find("x1").has_value());
      CHECK_FALSE(sender.replicator->holds(net::StreamKind::registry));
    }
  }
}

TEST_CASE("an incoming connection whose other end lost power does not stay for good") {
  SimCluster cluster(41);
  start_and_settle(cluster, 3);
  REQUIRE(cluster.node(0).mesh->acceptor().connections() == 2);
  cluster.vanish(2);
  cluster.run_for(9'000);
  CHECK(cluster.node(0).mesh->acceptor().connections() == 2);
  cluster.run_for(11'000);
  CHECK(cluster.node(0).mesh->acceptor().connections() == 1);
  CHECK(cluster.node(1).mesh->acceptor().connections() == 1);
}

TEST_CASE("after a long partition the first link that is back brings all the others back") {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    CAPTURE(seed);
    SimCluster cluster(seed);
    start_and_settle(cluster, 8);
    cluster.partition({0, 1, 2, 3});
    cluster.run_for(60'000);  // by now each dial is repeated after seconds only
    REQUIRE(cluster.node(0).mesh->view()->live_nodes == 4);
    cluster.heal();
    CHECK(cluster.run_until([&] { return cluster.converged(); }, 1'200) >= 0);
  }
}

TEST_CASE("after a partition one link wakes the others, and pushes are not sent twice") {
  SimCluster cluster(31);
  start_and_settle(cluster, 8);
  cluster.partition({0, 1, 2, 3});
  for (std::size_t i = 0; i < 1'000; ++i) {
    const auto block = static_cast<policies::BlockKey>(1'000 + i);
    cluster.node(i % 8).host.say_placement(0, {block});
    cluster.node(i % 8).mesh->local_changes();
    cluster.run_for(20);
  }
  const auto refused = [&] {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      for (const auto& [node, peer] : cluster.node(i).mesh->peers().all()) {
        sum += peer->replicator->stats().refused_deltas;
      }
    }
    return sum;
  };
  REQUIRE(status_of(cluster.node(0), "n7") == crdt::MemberStatus::dead);
  const std::uint64_t before = refused();
  cluster.heal();
  CHECK(cluster.run_until([&] { return cluster.converged(); }, 1'000) >= 0);
  CHECK(refused() <= before + 2);  // of 32 links; a push may still cross a refutation
}

TEST_CASE("a loop whose turn fails goes on a second later") {
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  kj::TimerImpl timer(kj::origin<kj::TimePoint>());
  int turns = 0;
  auto running = node::repeat(timer, "test", [&]() -> kj::Promise<void> {
                   if (++turns == 2) KJ_FAIL_REQUIRE("this turn fails at once");
                   if (turns == 4) return KJ_EXCEPTION(FAILED, "this one later");
                   return timer.afterDelay(10 * kj::MILLISECONDS);
                 }).eagerlyEvaluate(nullptr);
  const auto until = [&](std::uint64_t ms) {
    for (std::uint64_t at = 0; at <= ms; at += 5) {
      timer.advanceTo(std::max(timer.now(), kj::origin<kj::TimePoint>() + at * kj::MILLISECONDS));
      loop.run();
    }
  };
  until(500);
  CHECK(turns == 2);
  until(1'015);
  CHECK(turns == 3);
  until(1'500);
  CHECK(turns == 4);
  until(2'500);
  CHECK(turns > 10);
}

}  // namespace dualmesh::sim
