// Sixteen schedulers, one fleet.
#include <doctest/doctest.h>

#include <random>

#include "tests/policies/mesh_sim.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kNodes = 16;

SchedulerSettings settings_of(const std::string& policy, double slo_s) {
  SchedulerSettings settings;
  settings.policy = policy;
  settings.slo_ttft_s = slo_s;
  return settings;
}

// Where requests of key 1 go when 9 of 10 tokens are cached there, one of the key's candidates.
Slot favourite(const std::string& policy, std::size_t instances) {
  MeshSim mesh(1, instances, settings_of(policy, 5), 0ms);
  return mesh.requests[mesh.submit(0, 10)].slot;
}

struct HotSpot {
  HotSpot(const std::string& policy, double slo_s, std::uint32_t input, std::uint32_t hit)
      : mesh(kNodes, 4, settings_of(policy, slo_s), 100ms),
        hot(favourite(policy, 4)),
        input(input),
        room(static_cast<std::uint64_t>(slo_s / 2 / mesh.s_per_token)) {
    hits.assign(4, 0);
    hits[hot] = hit;
    mesh.after_move = [this](Slot to) {
      ++moves;
      most = std::max(most, mesh.pending_tokens(to));
    };
  }
  void submit(std::size_t node) { mesh.submit(node, input, hits); }
  void check() {
    MESSAGE("moved " << moves << ", most at a target " << most << " of " << room);
    CHECK(moves > 0);
    CHECK(most <= room + kNodes * input);
  }

  MeshSim mesh;
  Slot hot;
  std::uint32_t input;
  std::vector<std::uint32_t> hits;
  std::uint64_t room;
  std::uint64_t most = 0;
  int moves = 0;
};

}  // namespace

TEST_CASE(
    "hot spot: a target is not overshot by more than a request per node, whatever the start") {
  // Where a computed token is as dear as here, requests go where their prefix lies. The room of a
  // target is half an SLO: 3,125 tokens; a hot spot is one with more than 12,500.
  const std::string policy = "dualmesh:price=1000000";
  SUBCASE("all nodes get more than enough in one moment, before any has heard of another") {
    HotSpot spot(policy, 1, 150, 100);
    for (int i = 0; i < 300; ++i) {
      for (std::size_t node = 0; node < kNodes; ++node) spot.submit(node);
    }
    spot.mesh.run(2s);
    spot.check();
  }
  SUBCASE("all get some, enough together") {
    HotSpot spot(policy, 1, 150, 100);
    for (int i = 0; i < 40; ++i) {
      for (std::size_t node = 0; node < kNodes; ++node) spot.submit(node);
    }
    spot.mesh.run(2s);
    spot.check();
  }
  SUBCASE("more and more, at any node") {
    HotSpot spot(policy, 1, 150, 100);
    std::mt19937 random(3);
    for (int ms = 0; ms < 6'000; ++ms) {
      if (random() % 3 == 0) spot.submit(random() % kNodes);
      spot.mesh.run(1ms);
    }
    spot.check();
  }
}
