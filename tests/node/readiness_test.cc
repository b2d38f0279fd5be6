// What a node tells its load balancer, by what it and the others reach.
#include "node/router/readiness.h"

#include <doctest/doctest.h>

#include <vector>

using namespace dualmesh;
using namespace dualmesh::node;
using policies::Lifecycle;

namespace {

using Peers = std::vector<policies::PeerView>;

policies::FleetView view_of(std::vector<Lifecycle> instances, Peers peers) {
  policies::FleetView view;
  for (const Lifecycle lifecycle : instances) {
    policies::InstanceView instance;
    instance.slot = static_cast<policies::Slot>(view.instances.size());
    instance.lifecycle = lifecycle;
    view.instances.push_back(instance);
  }
  view.peers = std::make_shared<const Peers>(std::move(peers));
  return view;
}

Readiness with(const policies::FleetView& view, const std::vector<Seen>& seen) {
  return readiness_of(view, "", [&](policies::Slot slot) { return seen.at(slot); });
}

constexpr Lifecycle kActive = Lifecycle::active;
constexpr Seen kWell{true, true}, kSilent{false, false}, kEjected{true, false};

}  // namespace

TEST_CASE("readiness: a node that alone reaches no instance is not ready") {
  const auto view = view_of({kActive, kActive}, {{"r2", "a:1", {}}, {"r3", "b:1", {0, 1}}});
  CHECK(with(view, {kWell, kSilent}).why_not.empty());
  CHECK(with(view, {kWell, kSilent}).instances_healthy == 1);
  const Readiness cut_off = with(view, {kSilent, kSilent});
  CHECK(cut_off.why_not == "no instance answers this node; node r3 reaches 2");
  CHECK(cut_off.instances_active == 2);
  CHECK(readiness_of(view, "draining", [](policies::Slot) { return kWell; }).why_not == "draining");
}

TEST_CASE("readiness: where nobody reaches an active instance, all nodes stay ready") {
  CHECK(with(view_of({kActive}, {{"r2", "a:1", {}}}), {kSilent}).why_not.empty());
  for (const Lifecycle gone : {Lifecycle::draining, Lifecycle::removed}) {
    const Peers reach_what_is_gone{{"r2", "a:1", {1}}};
    CHECK(with(view_of({kActive, gone}, reach_what_is_gone), {kSilent, kWell}).why_not.empty());
    CHECK(with(view_of({gone, gone}, reach_what_is_gone), {kWell, kWell}).why_not.empty());
  }
  CHECK(with(view_of({kActive}, {{"r2", "a:1", {0, 7}}}), {kWell}).why_not.empty());
}

TEST_CASE("readiness: an instance that every node has ejected takes no node out") {
  const Readiness readiness = with(view_of({kActive}, {{"r2", "a:1", {0}}}), {kEjected});
  CHECK(readiness.why_not.empty());
  CHECK(readiness.instances_active == 1);
  CHECK(readiness.instances_healthy == 0);
}
