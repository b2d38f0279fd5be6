// Schedulers that act on one order of all that waits for an instance: what they reach together, and
// that nobody waits for ever for a node that has stopped talking.
//
// Of an instance 1,000 tokens are 160 ms. SLO 5 s.
#include <doctest/doctest.h>

#include <random>

#include "policies/turns.h"
#include "tests/policies/mesh_sim.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

SchedulerSettings settings_of(const std::string& order = "slo") {
  SchedulerSettings settings;
  settings.policy = "dualmesh";
  settings.queue = order;
  return settings;
}

// Told every 10 ms, heard after the delay; steps of a millisecond.
Duration heard_within(Duration delay) { return delay + 11ms; }

void check_all_served(const MeshSim& mesh) {
  for (const MeshSim::Request& request : mesh.requests) {
    if (!request.lost) CHECK(request.first_token >= Time(0));
  }
}

}  // namespace

TEST_CASE("mesh turns: of what waits at many nodes, all is served by due time") {
  MeshSim mesh(8, 1, settings_of(), 10ms);
  std::mt19937 random(1);
  // 25 requests in 250 ms, 4 s of work: all can be served in time.
  for (int i = 0; i < 25; ++i) {
    mesh.submit(random() % 8, 1'000);
    mesh.run(10ms);
  }
  mesh.run(5s);
  check_all_served(mesh);
  // A slack ages from when it is heard, so two due within the way of a message may change places.
  for (std::size_t i = 0; i < mesh.served.size(); ++i) {
    for (std::size_t j = i + 1; j < mesh.served.size(); ++j) {
      CHECK(mesh.requests[mesh.served[i]].arrived <=
            mesh.requests[mesh.served[j]].arrived + heard_within(10ms));
    }
  }
}

TEST_CASE("mesh turns: no instance idles for long while somebody has work for it") {
  for (const Duration delay : {0ms, 10ms, 100ms}) {
    CAPTURE(delay.count());
    MeshSim mesh(8, 2, settings_of(), delay);
    std::mt19937 random(2);
    for (int ms = 0; ms < 20'000; ++ms) {
      if (random() % 100 == 0) {
        mesh.submit(random() % 8, 500 + random() % 2'000, {}, random() % 50);
      }
      mesh.run(1ms);
    }
    mesh.run(30s);
    check_all_served(mesh);
    for (Slot slot = 0; slot < 2; ++slot) {
      MESSAGE("delay " << delay.count() / 1'000'000 << " ms: most there " << mesh.most_sent[slot]
                       << ", idle " << mesh.idle_with_work[slot].count() / 1'000'000 << " ms");
      CHECK(mesh.idle_with_work[slot] <= heard_within(delay) + kGrace);
    }
  }
}

TEST_CASE("mesh turns: what is late at one node is served within its bound, whoever has work") {
  MeshSim mesh(4, 1, settings_of("slo:wait_bound_s=20"), 10ms);
  const RequestId late = mesh.submit(0, 35'000);  // 5.6 s: never within the SLO
  const RequestId next = mesh.submit(0, 35'000);
  // The others have always somebody who can be served in time.
  for (int i = 0; i < 200; ++i) {
    for (std::size_t node = 1; node < 4; ++node) mesh.submit(node, 700);
    mesh.run(200ms);
  }
  for (const RequestId id : {late, next}) {
    REQUIRE(mesh.requests[id].first_token >= Time(0));
    // One that is being served when its time comes may end first.
    CHECK(mesh.requests[id].first_token - mesh.requests[id].arrived <= 20s + 500ms);
  }
}

TEST_CASE("mesh turns: a node stops with requests first in order; the others go on after a grace") {
  for (const bool vanishes : {true, false}) {
    CAPTURE(vanishes);
    MeshSim mesh(3, 1, settings_of(), 10ms);
    mesh.submit(1, 1'000);
    mesh.run(50ms);
    for (int i = 0; i < 8; ++i) mesh.submit(0, 1'000);
    mesh.run(50ms);
    for (int i = 0; i < 8; ++i) mesh.submit(1 + i % 2, 1'000);
    mesh.run(30ms);  // the first still runs; the node has told what it has
    mesh.kill(0, vanishes);
    mesh.run(8 * 160ms + 8 * (kGrace + heard_within(10ms)) + 100ms);
    check_all_served(mesh);
    CHECK(mesh.served.size() == 9);
    CHECK(mesh.idle_with_work[0] <= heard_within(10ms) + kGrace);
  }
}

TEST_CASE("mesh turns: a node stops while its prefill runs; it is believed for a while") {
  for (const bool vanishes : {true, false}) {
    for (const bool more_waits : {true, false}) {
      CAPTURE(vanishes);
      CAPTURE(more_waits);
      SchedulerSettings settings = settings_of();
      settings.slo_ttft_s = 20;  // nobody is given up
      MeshSim mesh(3, 1, settings, 10ms);
      mesh.submit(0, 1'000);
      mesh.run(5ms);
      if (more_waits) mesh.submit(0, 1'000);
      mesh.run(45ms);
      mesh.kill(0, vanishes);
      for (int i = 0; i < 10; ++i) mesh.submit(1 + i % 2, 1'000);
      const Time stopped = mesh.now;
      mesh.run(kDoubt + 4s);
      check_all_served(mesh);
      REQUIRE(mesh.served.size() == 10);
      const Duration until_first = mesh.requests[mesh.served[0]].first_token - stopped;
      // Its prefill should have been done 110 ms later. Then what it has waiting is first.
      if (vanishes || !more_waits) {
        CHECK(until_first <= 110ms + 160ms + kGrace + heard_within(10ms));
      } else {
        CHECK(until_first >= kDoubt);
        CHECK(until_first <= kDoubt + 110ms + 160ms + kGrace + heard_within(10ms));
      }
      // After that its column, though it stays, holds up nobody for more than a grace.
      const Duration rest =
          mesh.requests[mesh.served[9]].first_token - mesh.requests[mesh.served[0]].first_token;
      CHECK(rest <= 9 * (160ms + kGrace + heard_within(10ms)));
    }
  }
}

TEST_CASE("mesh turns: a node that nobody hears any more is served, and so are the others") {
  for (const bool vanishes : {true, false}) {
    CAPTURE(vanishes);
    MeshSim mesh(4, 1, settings_of(), 10ms);
    std::mt19937 random(5);
    const auto some = [&] {
      for (int i = 0; i < 40; ++i) {
        mesh.submit(random() % 4, 800);
        mesh.run(150ms);
      }
    };
    some();
    mesh.mute(2, vanishes);
    some();
    mesh.run(kDoubt + 30s);
    check_all_served(mesh);
    CHECK(mesh.most_sent[0] <= 4);  // one of each
  }
}
