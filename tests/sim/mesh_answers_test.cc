// What a node answers its administrators about replication, while things go wrong.
#include <capnp/message.h>
#include <doctest/doctest.h>

#include <array>
#include <map>
#include <set>

#include "node/mesh/admin_server.h"
#include "node/mesh/mesh_metrics.h"
#include "tests/sim/settled.h"

namespace dualmesh::sim {
namespace {

struct Answers {
  capnp::MallocMessageBuilder messages[3];
  wire::Status::Builder status = messages[0].initRoot<wire::Status>();
  wire::Replication::Builder replication = messages[1].initRoot<wire::Replication>();
  wire::Admin::MembersResults::Builder members =
      messages[2].initRoot<wire::Admin::MembersResults>();

  explicit Answers(SimNode& of) {
    node::write_status(*of.mesh, status);
    node::write_replication(*of.mesh, replication);
    node::write_members(*of.mesh, members);
  }
  wire::PeerInfo::Builder peer(const std::string& name) {
    for (auto entry : replication.getPeers()) {
      if (name == entry.getName().cStr()) return entry;
    }
    FAIL("no peer " << name);
    return replication.getPeers()[0];
  }
  wire::MemberInfo::Builder member(const std::string& name) {
    for (auto entry : members.getMembers()) {
      if (name == entry.getName().cStr()) return entry;
    }
    FAIL("no member " << name);
    return members.getMembers()[0];
  }
};

void say_load(SimNode& at, std::uint32_t queued) {
  policies::Load load;
  load.queued_requests = queued;
  at.host.say_load(0, load);
  at.mesh->local_changes();
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("what waited for a dead peer is not counted as the lag of the one that came back") {
  SimCluster cluster(61);
  start_and_settle(cluster, 3);
  cluster.network().set_cut("n0:7000", "n1:7000", true);
  cluster.network().set_cut("n2:7000", "n1:7000", true);
  say_load(cluster.node(0), 1);
  cluster.run_for(5'000);
  say_load(cluster.node(0), 2);
  cluster.run_for(25'000);
  CHECK(Answers(cluster.node(0)).peer("n1").getPendingMs() > 20'000.0);
  CHECK(std::string(Answers(cluster.node(0)).member("n1").getStatus().cStr()) == "dead");
  CHECK(Answers(cluster.node(0)).member("n1").getSinceMs() > 20'000.0);
  cluster.heal();
  REQUIRE(cluster.run_until([&] { return cluster.converged(); }, 20'000) >= 0);
  cluster.run_for(1'000);
  Answers after(cluster.node(0));
  CHECK(after.peer("n1").getPendingMs() == 0.0);
  CHECK(after.peer("n1").getAckMs().getMax() < 1'500.0);
  CHECK(std::string(after.member("n1").getStatus().cStr()) == "alive");
  CHECK(after.member("n1").getSinceMs() < 25'000.0);
}

TEST_CASE("status and lag say who is heard through whom") {
  SimCluster cluster(62);
  start_and_settle(cluster, 3);
  CHECK(Answers(cluster.node(0)).member("n1").getRelayedBy().size() == 0);
  cluster.network().set_cut("n0:7000", "n1:7000", true);
  cluster.run_for(2'000);
  say_load(cluster.node(1), 3);
  cluster.run_for(2'000);
  Answers told(cluster.node(0));
  CHECK(std::string(told.member("n1").getRelayedBy().cStr()) == "n2");
  CHECK(std::string(told.peer("n1").getRelayedBy().cStr()) == "n2");
  CHECK(told.peer("n2").getRelayedBy().size() == 0);
  CHECK(told.status.getRelayedDeltas() > 0);
  REQUIRE(told.status.getRelayedBy().size() == 1);
  CHECK(std::string(told.status.getRelayedBy()[0].getWriter().cStr()) == "n1");
  CHECK(std::string(told.status.getRelayedBy()[0].getThrough().cStr()) == "n2");
  const std::string metrics = node::mesh_metrics(*cluster.node(0).mesh);
  CHECK(has_line(metrics, "dualmesh_mesh_relayed{peer=\"n1\"} 1"));
  CHECK(has_line(metrics, "dualmesh_mesh_relayed{peer=\"n2\"} 0"));
  CHECK(has_line(metrics, "dualmesh_mesh_relayed_deltas_total " +
                              std::to_string(told.status.getRelayedDeltas())));
  auto passed_on = Answers(cluster.node(2)).peer("n0").getRelayedTo();
  REQUIRE(passed_on.size() == 1);
  CHECK(std::string(passed_on[0].cStr()) == "n1");
}

TEST_CASE("status has the digests of every living node and marks who differs") {
  SimCluster cluster(63);
  start_and_settle(cluster, 3);
  {
    Answers all(cluster.node(0));
    REQUIRE(all.status.getNodes().size() == 3);
    for (auto node : all.status.getNodes()) {
      CHECK(node.getAgrees());
      CHECK(node.getReady());
      CHECK(node.getRegistryDigest() == all.status.getRegistryDigest());
    }
  }
  // n2 hears nothing of it for a while.
  cluster.network().set_cut_one_way("n0:7000", "n2:7000", true);
  cluster.network().set_cut_one_way("n1:7000", "n2:7000", true);
  REQUIRE(cluster.node(0).mesh->change("e1", policies::Lifecycle::removed).has_value());
  cluster.run_for(300);
  Answers one_behind(cluster.node(0));
  for (auto node : one_behind.status.getNodes()) {
    CHECK(node.getAgrees() == (std::string(node.getName().cStr()) != "n2"));
  }
  CHECK(one_behind.status.getRemovedInstances() == 1);
  CHECK(one_behind.status.getCollectionHorizonMs() == 0);
}

TEST_CASE("bytes by stream add up to the bytes of pushes, and snapshots are counted") {
  SimCluster cluster(64);
  start_and_settle(cluster, 2);
  say_load(cluster.node(0), 1);
  cluster.run_for(500);
  Answers told(cluster.node(0));
  std::uint64_t sum = 0;
  for (auto stream : told.peer("n1").getSentByStream()) sum += stream.getCount();
  CHECK(sum > 0);
  CHECK(sum == told.peer("n1").getBytesSent());
  CHECK(told.peer("n1").getSnapshots() > 0);
  CHECK(told.status.getBytesSent() == sum);
  const std::uint64_t received = Answers(cluster.node(1)).status.getSnapshotsReceived();
  CHECK(received > 0);
  CHECK(has_line(node::mesh_metrics(*cluster.node(1).mesh),
                 "dualmesh_mesh_snapshots_received_total " + std::to_string(received)));
  CHECK(has_line(node::mesh_metrics(*cluster.node(0).mesh),
                 "dualmesh_mesh_snapshots_sent_total{peer=\"n1\"} " +
                     std::to_string(told.peer("n1").getSnapshots())));
}

TEST_CASE("the rows of the buckets whose sums differ are those that two nodes hold differently") {
  SimCluster cluster(65);
  start_and_settle(cluster, 2);
  for (int i = 0; i < 40; ++i) {
    const std::string number = std::to_string(i);
    const node::SeedInstance added{"x" + number, "10.0.1." + number + ":9000", {"m"}, 1.0};
    REQUIRE(cluster.node(0).mesh->change(added).has_value());
  }
  REQUIRE(cluster.run_until([&] { return cluster.converged(); }, 1'000) >= 0);
  cluster.network().set_cut("n0:7000", "n1:7000", true);
  REQUIRE(cluster.node(0).mesh->change("x7", policies::Lifecycle::draining).has_value());
  cluster.run_for(100);

  const auto sums_of = [&](std::size_t node) {
    capnp::MallocMessageBuilder asked;
    capnp::MallocMessageBuilder message;
    auto answer = message.initRoot<wire::Admin::BucketSumsResults>();
    node::write_bucket_sums(*cluster.node(node).mesh, wire::StreamKind::REGISTRY,
                            asked.initRoot<wire::Origin>().asReader(), answer);
    std::vector<std::uint64_t> sums;
    for (const std::uint64_t sum : answer.getSums()) sums.push_back(sum);
    REQUIRE(sums.size() == 256);
    return sums;
  };
  const auto at_n0 = sums_of(0);
  const auto at_n1 = sums_of(1);
  std::array<std::uint8_t, 32> differing{};
  for (std::size_t i = 0; i < 256; ++i) {
    if (at_n0[i] != at_n1[i]) differing[i / 8] |= static_cast<std::uint8_t>(1 << (i % 8));
  }
  const auto rows_of = [&](std::size_t node, capnp::Data::Reader buckets) {
    capnp::MallocMessageBuilder request;
    capnp::MallocMessageBuilder message;
    auto asked = request.initRoot<wire::Admin::RowsParams>();
    asked.setKind(wire::StreamKind::REGISTRY);
    asked.setBuckets(buckets);
    auto answer = message.initRoot<wire::Admin::RowsResults>();
    node::write_rows(*cluster.node(node).mesh, asked, answer);
    std::map<std::string, std::string> rows;
    for (auto row : answer.getRows()) rows[row.getKey().cStr()] = row.getValue().cStr();
    return rows;
  };
  const auto all_0 = rows_of(0, {});
  const auto all_1 = rows_of(1, {});
  const auto some_0 = rows_of(0, {differing.data(), differing.size()});
  const auto some_1 = rows_of(1, {differing.data(), differing.size()});
  CHECK(all_0.size() > 200);
  CHECK(some_0.size() < 20);
  // The twin: compared without buckets.
  const auto unequal = [](const auto& a, const auto& b) {
    std::set<std::string> keys;
    for (const auto& [key, value] : a) {
      if (!b.contains(key) || b.at(key) != value) keys.insert(key);
    }
    return keys;
  };
  CHECK(unequal(all_0, all_1) == std::set<std::string>{"x7.lifecycle"});
  CHECK(unequal(some_0, some_1) == unequal(all_0, all_1));
  CHECK(unequal(some_1, some_0) == unequal(all_1, all_0));
}

}  // namespace dualmesh::sim
