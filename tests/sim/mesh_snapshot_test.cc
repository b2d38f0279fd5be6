// A snapshot of a million rows: it goes in pieces, and heartbeats pass between them.
#include <doctest/doctest.h>

#include <numeric>

#include "tests/sim/sim_cluster.h"

namespace dualmesh::sim {
namespace {

constexpr std::size_t kMillion = 1'000'000;
constexpr std::size_t kRowBytes = 24;      // of a placement on the wire
constexpr std::size_t kPieceRows = 8'192;  // of what is handed over in one turn

std::vector<policies::BlockKey> blocks_from(policies::BlockKey first, std::size_t count) {
  std::vector<policies::BlockKey> blocks(count);
  std::iota(blocks.begin(), blocks.end(), first);
  return blocks;
}

void place(SimNode& at, std::uint64_t instance, std::size_t count) {
  constexpr std::size_t kAtOnce = 10'000;
  for (std::size_t done = 0; done < count; done += kAtOnce) {
    at.mesh->state().place(instance, blocks_from(1 + done, std::min(kAtOnce, count - done)),
                           at.mesh->now());
  }
}

const node::MeshPeer& peer_of(SimNode& at, SimNode& other) {
  return *at.mesh->peers().find(other.mesh->state().self().node);
}

std::size_t rows_of(SimNode& at, SimNode& writer) {
  const auto* column = at.mesh->state().residencies().find(writer.mesh->state().self().node);
  return column == nullptr ? 0 : column->feed.size();
}

// The most that one turn of the event loop brought.
struct Most {
  std::uint64_t last = 0;
  std::uint64_t most = 0;
  void now(std::uint64_t sum) {
    most = std::max(most, sum - std::min(sum, last));
    last = sum;
  }
};

void start_converged(SimCluster& cluster) {
  cluster.start_all();
  const auto converged = [&] { return cluster.all_ready() && cluster.converged(); };
  REQUIRE(cluster.run_until(converged, 3'000) >= 0);
}

void check_unharmed(SimNode& at) {
  const node::MeshPeers& peers = at.mesh->peers();
  CHECK(peers.counters().pings_failed == 0);
  CHECK(peers.counters().suspicions == 0);
  CHECK(peers.counters().deaths == 0);
  CHECK(peers.counters().links_lost == 0);
  CHECK(peers.detector().health().multiplier() == 1);
  CHECK(at.mesh->refutations() == 0);
  CHECK(at.mesh->acceptor().throttled() == 0);
  CHECK(at.mesh->acceptor().turned_away() == 0);
  CHECK(at.mesh->refusals().all() == 0);
}

}  // namespace

TEST_CASE("snapshot: a million placements reach a newcomer, and no heartbeat is late") {
  SimCluster cluster(71);
  cluster.add_many(2);
  SimNode& serving = cluster.node(0);
  SimNode& joining = cluster.node(1);
  serving.config.alone = true;
  cluster.start(0);
  cluster.run_for(100);
  place(serving, policies::instance_id_of("e0"), kMillion);
  REQUIRE(serving.mesh->state().own_residency().size() == kMillion);
  // A push takes 87 ms on this wire, and a newcomer is patient for 10 s.
  cluster.network().direction("n0:7000", "n1:7000").bytes_per_ms = 3'000;

  Most applied, handed, sent;
  cluster.watch_turns([&] {
    if (!joining.up()) return;
    applied.now(rows_of(joining, serving));
    handed.now(joining.host.lessons());
    if (serving.mesh->peers().find(joining.mesh->state().self().node) != nullptr) {
      sent.now(peer_of(serving, joining).replicator->stats().bytes_sent);
    }
  });
  cluster.start(1);
  const double took = cluster.run_until([&] { return joining.mesh->ready(); }, 60'000, 50);
  CHECK(took > 8'000);  // 24 MB
  CHECK(took < 9'000);
  CHECK(rows_of(joining, serving) == kMillion);
  CHECK(joining.host.learned(0).size() == kMillion);

  // No turn of either loop does more than one piece.
  const std::size_t push_bytes = serving.config.max_push_bytes;
  CHECK(sent.most <= push_bytes + 1'024);
  CHECK(applied.most <= push_bytes / kRowBytes);
  CHECK(handed.most <= push_bytes / kRowBytes);
  const node::ReplicatorStats& stats = peer_of(serving, joining).replicator->stats();
  CHECK(stats.pushes >= kMillion * kRowBytes / push_bytes);
  CHECK(stats.refused_deltas == 0);
  const auto residency = static_cast<std::size_t>(net::StreamKind::residency);
  CHECK(stats.stream_bytes_sent[residency] >= kMillion * kRowBytes);
  CHECK(stats.stream_bytes_sent[residency] <= kMillion * kRowBytes * 101 / 100);
  CHECK(peer_of(joining, serving).stream_bytes_received == stats.stream_bytes_sent);
  CHECK(stats.snapshots == 4);  // once each stream that says anything: no settings, loads, ...
  check_unharmed(serving);
  check_unharmed(joining);
}

TEST_CASE("snapshot: a column whose instance is told later is handed over in pieces, in order") {
  SimCluster cluster(72);
  cluster.add_many(2);
  start_converged(cluster);
  SimNode& writing = cluster.node(0);
  SimNode& learning = cluster.node(1);
  constexpr std::size_t kCount = 50'000;
  place(writing, policies::instance_id_of("late"), kCount);
  cluster.run_for(1'000);
  REQUIRE(rows_of(learning, writing) == kCount);
  REQUIRE(learning.host.lessons() == 0);
  Most handed;
  cluster.watch_turns([&] { handed.now(learning.host.lessons()); });
  REQUIRE(
      writing.mesh->change(node::SeedInstance{"late", "10.0.1.9:9000", {"m"}, 1.0}).has_value());
  cluster.run_for(200);
  CHECK(learning.host.lessons() == kCount);
  CHECK(handed.most == kPieceRows);
  const auto& instances = learning.mesh->view()->instances;
  const auto late = std::find_if(instances.begin(), instances.end(),
                                 [](const auto& instance) { return instance.name == "late"; });
  REQUIRE(late != instances.end());
  std::vector<policies::BlockKey> oldest_first;
  writing.mesh->state().own_residency().for_each(
      [&](const net::PlacementKey& key, crdt::Version) { oldest_first.push_back(key.block); });
  CHECK(learning.host.learned_in_order(late->slot) == oldest_first);
}

TEST_CASE("placements that are due together expire in pieces") {
  SimCluster cluster(74);
  cluster.add_many(2);
  cluster.node(0).config.placement_ttl_s = 30;
  start_converged(cluster);
  SimNode& writing = cluster.node(0);
  constexpr std::size_t kCount = 100'000;
  for (std::size_t done = 0; done < kCount; done += 500) {
    writing.mesh->state().place(policies::instance_id_of("e0"), blocks_from(1 + done, 500),
                                writing.mesh->now());
  }
  cluster.run_for(5'000);
  REQUIRE(rows_of(cluster.node(1), writing) == kCount);
  Most expired;
  cluster.watch_turns([&] { expired.now(kCount - writing.mesh->state().own_residency().size()); });
  cluster.run_for(26'000);
  CHECK(expired.most > 0);
  CHECK(expired.most <= kPieceRows);
  CHECK(writing.mesh->state().own_residency().size() == 0);
  CHECK(rows_of(cluster.node(1), writing) == 0);
  CHECK(cluster.converged());
}

TEST_CASE("what a dead node said leaves the memory of all others, not only their sums") {
  SimCluster cluster(73);
  cluster.add_many(3);
  start_converged(cluster);
  SimNode& dying = cluster.node(2);
  const crdt::NodeId dead = dying.mesh->state().self().node;
  const std::uint64_t e0 = policies::instance_id_of("e0");
  place(dying, e0, 1'000);
  dying.mesh->state().set_load(e0, {.queued_requests = 3});
  dying.mesh->state().set_health(e0, false);
  cluster.run_for(500);
  const auto held = [&](std::size_t at) {
    const node::SharedState& state = cluster.node(at).mesh->state();
    return (state.loads().find(dead) != nullptr) + (state.healths().find(dead) != nullptr) +
           (state.statuses().find(dead) != nullptr) + (state.residencies().find(dead) != nullptr);
  };
  REQUIRE(held(0) == 4);
  REQUIRE(held(1) == 4);
  SUBCASE("killed") { cluster.crash(2); }
  SUBCASE("without power") { cluster.vanish(2); }
  CHECK(cluster.run_until([&] { return held(0) + held(1) == 0; }, 4'000) >= 0);
  // Nobody brings it back, by relay or otherwise.
  cluster.run_for(10'000);
  CHECK(held(0) + held(1) == 0);
  for (const auto& at : cluster.node(0).mesh->state().positions()) CHECK(at.origin.node != dead);
}

}  // namespace dualmesh::sim
