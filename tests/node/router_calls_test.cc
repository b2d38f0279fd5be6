// A scheduler that wants to be called at a time is called then, though nothing happens meanwhile.
#include <doctest/doctest.h>

#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

TEST_CASE("a request whose turn does not come is sent after a moment, though nothing happens") {
  FakeInstance one(completing("x"));
  // Another node has a prefill running there, and what it has waiting is due before ours.
  const auto others = [&](std::uint32_t prefilling) {
    auto view = std::make_shared<policies::FleetView>(*make_view({{"e1", one.address(), {"m"}}}));
    view->settings.queue = "slo";
    policies::InstanceView& instance = view->instances[0];
    instance.others.prefilling_requests = prefilling;
    instance.others.queued_requests = instance.others_queueing = 1;
    instance.others_busy_until = monotonic_now() + std::chrono::hours(1);
    instance.others_waiting.push_back({monotonic_now() + std::chrono::seconds(1), 1});
    return view;
  };
  TestRouter router(others(1));
  TestClient client;
  const auto call =
      client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "a", true)));
  REQUIRE(eventually([&] {
    return router.scheduler.read([](const policies::Scheduler& inner) {
      return inner.queues().at(0).own.queued_requests == 1;
    });
  }));
  CHECK(one.requests() == 0);
  // That prefill ends, and then there is no news any more: nobody calls the scheduler but itself.
  router.scheduler.set_view(others(0));
  auto done = call->done.get_future();
  REQUIRE(done.wait_for(kPatience) == std::future_status::ready);
  CHECK(done.get().response.status == 200);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("a router that stops while its scheduler wants to be called leaves quietly") {
  FakeInstance one(completing("x"));
  auto view = std::make_shared<policies::FleetView>(*make_view({{"e1", one.address(), {"m"}}}));
  view->settings.queue = "slo";
  view->instances[0].others.prefilling_requests = 1;
  view->instances[0].others_busy_until = monotonic_now() + std::chrono::hours(1);
  TestClient client;
  std::shared_ptr<TestClient::Open> call;
  {
    TestRouter router(std::move(view));
    call =
        client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "a", true)));
    REQUIRE(eventually([&] {
      return router.scheduler.read([](const policies::Scheduler& inner) {
        return inner.queues().at(0).own.queued_requests == 1;
      });
    }));
  }
  CHECK(call->done.get_future().get().error != net::ClientError::none);
  CHECK(one.requests() == 0);
}
