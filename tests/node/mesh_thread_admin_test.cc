// What administrators ask of one node, and what the others learn of it.
#include "node/mesh/mesh_thread.h"
#include "tests/node/mesh_thread_support.h"

namespace dualmesh::node {

TEST_CASE("administration through one node reaches the other") {
  FakeMeshHost a_host, b_host;
  auto a = started(config_of("a", {}), a_host);
  auto b = started(config_of("b", {address_of(*a)}), b_host);
  REQUIRE(eventually([&] { return b_host.ready(); }));
  AdminClient client(a->port());
  auto admin = client.admin();

  auto add = admin.changeInstanceRequest();
  add.setAction(wire::InstanceAction::ADD);
  add.setName("e3");
  add.setAddress("127.0.0.1:9003");
  add.initModels(1).set(0, "sim");
  add.send().wait(client.scope());
  CHECK(eventually([&] {
    auto e3 = b_host.instance("e3");
    return e3 && e3->lifecycle == policies::Lifecycle::active &&
           b_host.view()->models.at("sim").active.size() == 3;
  }));

  auto drain = admin.changeInstanceRequest();
  drain.setAction(wire::InstanceAction::DRAIN);
  drain.setName("e1");
  drain.send().wait(client.scope());
  CHECK(eventually(
      [&] { return b_host.instance("e1")->lifecycle == policies::Lifecycle::draining; }));

  auto unknown = admin.changeInstanceRequest();
  unknown.setAction(wire::InstanceAction::DRAIN);
  unknown.setName("nobody");
  bool refused = false;
  try {
    unknown.send().wait(client.scope());
  } catch (const kj::Exception& exception) {
    refused =
        std::string(exception.getDescription().cStr()).find("no instance is called 'nobody'") !=
        std::string::npos;
  }
  CHECK(refused);

  auto policy = admin.setPolicyRequest();
  policy.setPolicy("round_robin");
  policy.send().wait(client.scope());
  CHECK(eventually([&] { return b_host.view()->settings.policy == "round_robin"; }));

  auto weights = admin.setClientWeightsRequest();
  weights.setWeights("#00000000000000ff=2.5");
  weights.send().wait(client.scope());
  CHECK(eventually([&] { return b_host.view()->settings.client_weights.of(255) == 2.5; }));
  // Each node answers from its own view, which the writer may build after the other has.
  CHECK(eventually([&] { return a_host.view()->settings.client_weights.of(255) == 2.5; }));
  const auto shown = admin.clientWeightsRequest().send().wait(client.scope());
  CHECK(std::string(shown.getWeights().cStr()) == "#00000000000000ff=2.5");
  CHECK(std::string(shown.getSet().cStr()) == "#00000000000000ff=2.5");
  CHECK(shown.getAnybody());
  auto more = admin.setClientWeightsRequest();
  more.setWeights("#00000000000000fe=3");
  more.send().wait(client.scope());
  CHECK(eventually([&] { return b_host.view()->settings.client_weights.of(254) == 3; }));
  CHECK(b_host.view()->settings.client_weights.of(255) == 2.5);
  auto cleared = admin.setClientWeightsRequest();
  cleared.initCleared(1).set(0, 255);
  cleared.send().wait(client.scope());
  CHECK(eventually([&] { return b_host.view()->settings.client_weights.of(255) == 1; }));
  CHECK(b_host.view()->settings.client_weights.of(254) == 3);
  auto all = admin.setClientWeightsRequest();
  all.setClearAll(true);
  all.send().wait(client.scope());
  CHECK(eventually([&] { return b_host.view()->settings.client_weights.empty(); }));
  bool bad = false;
  try {
    auto wrong = admin.setClientWeightsRequest();
    wrong.setWeights("#00000000000000ff=0");
    wrong.send().wait(client.scope());
  } catch (const kj::Exception& exception) {
    bad = std::string(exception.getDescription().cStr()).find("0.001 to 1000") != std::string::npos;
  }
  CHECK(bad);

  const auto status = admin.statusRequest().send().wait(client.scope());
  CHECK(status.getStatus().getReady());
  CHECK(status.getStatus().getMembersAlive() == 2);
  CHECK(status.getStatus().getInstancesActive() == 2);
  const auto members = admin.membersRequest().send().wait(client.scope());
  REQUIRE(members.getMembers().size() == 2);
  CHECK(admin.instancesRequest().send().wait(client.scope()).getInstances().size() == 3);
  CHECK(eventually([&] {
    const auto rings = admin.ringsRequest().send().wait(client.scope());
    return rings.getRings().getAgree() && rings.getRings().getNodes().size() == 2;
  }));
  const auto replication = admin.replicationRequest().send().wait(client.scope());
  CHECK(replication.getReplication().getPeers().size() == 1);
  auto rows = admin.rowsRequest();
  rows.setKind(wire::StreamKind::REGISTRY);
  CHECK(rows.send().wait(client.scope()).getRows().size() >= 10);
  const std::string metrics = admin.metricsRequest().send().wait(client.scope()).getText().cStr();
  CHECK(metrics.find("dualmesh_mesh_ready 1") != std::string::npos);
  CHECK(a->dump_state().find("member b") != std::string::npos);
}

TEST_CASE("a beacon written at one node is recorded at the other after it was written") {
  FakeMeshHost a_host, b_host;
  auto a = started(config_of("a", {}), a_host);
  auto b = started(config_of("b", {address_of(*a)}), b_host);
  REQUIRE(eventually([&] { return a_host.ready() && b_host.ready(); }));
  std::uint64_t written_ns = 0;
  {
    AdminClient client(a->port());
    auto request = client.admin().setBeaconRequest();
    request.setValue(77);
    written_ns = request.send().wait(client.scope()).getAtNs();
  }
  AdminClient client(b->port());
  auto admin = client.admin();
  std::uint64_t seen_ns = 0;
  CHECK(eventually([&] {
    const auto beacons = admin.beaconsRequest().send().wait(client.scope());
    for (auto seen : beacons.getSeen()) {
      if (seen.getValue() == 77 && std::string(seen.getNode().cStr()) == "a")
        seen_ns = seen.getAtNs();
    }
    return seen_ns != 0;
  }));
  CHECK(seen_ns > written_ns);
  MESSAGE("propagation " << static_cast<double>(seen_ns - written_ns) / 1e6 << " ms");
}

}  // namespace dualmesh::node
