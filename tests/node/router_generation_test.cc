// A change of the ring parameters under way, as the request path sees it.
#include <doctest/doctest.h>

#include <thread>

#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

// About 875 tokens: one whole block of 2048 bytes, three of 1024.
const std::string kPrompt(3'500, 'x');

std::uint64_t predicted_hits(const TestRouter& router) {
  return router.scheduler.read([](const policies::Scheduler& inner) { return inner.totals(); })
      .predicted_hit_tokens;
}

}  // namespace

TEST_CASE("a new generation: requests in flight end as they began, new ones are cut anew") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  std::atomic<bool> hold{false};
  const auto completes = completing("ok");
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
    if (!hold.exchange(false)) return completes(std::move(exchange));
    held.push_back(std::move(exchange));
  });
  // On one thread, so that a request sent after the change follows it.
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), TestRouter::default_settings(), {},
                    1);
  TestClient client;
  const std::string body = chat_body("m", kPrompt, false);
  const auto ask = [&] {
    return client.post(router.port(), "/v1/chat/completions", body).response.status;
  };
  CHECK(ask() == 200);
  CHECK(predicted_hits(router) == 0);
  CHECK(ask() == 200);
  CHECK(predicted_hits(router) == 512);

  hold = true;
  const auto waiting = client.open(router.port(), post_request("/v1/chat/completions", body));
  REQUIRE(eventually([&] { return !hold.load(); }));
  policies::ChainParameters fresh;
  fresh.block_bytes = 1'024;
  fresh.seed = 99;
  router.flow.set_chain(fresh);
  router.residency.forget_all();
  CHECK(router.residency.size() == 0);

  // It was held as placed by the old parameters and ends with what was believed then.
  one.run([&] {
    answer_json(*held.at(0), 200, "{}");
    held.clear();
  });
  CHECK(waiting->done.get_future().get().response.status == 200);
  CHECK(eventually([&] { return predicted_hits(router) == 1'024; }));

  CHECK(ask() == 200);
  CHECK(predicted_hits(router) == 1'024);  // nothing of the old keys matches
  CHECK(ask() == 200);
  CHECK(predicted_hits(router) == 1'024 + 768);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("generations that change all the time while requests run: all are answered") {
  FakeInstance one(completing("ok")), two(completing("ok"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}, {"e2", two.address(), {"m"}}}));
  std::atomic<bool> ended{false};
  std::thread changes([&] {
    policies::ChainParameters chain;
    while (!ended) {
      chain.block_bytes = chain.block_bytes == 64 ? 4'096 : 64;
      ++chain.seed;
      router.flow.set_chain(chain);
      router.residency.forget_all();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  TestClient client;
  int answered = 0;
  for (int i = 0; i < 50; ++i) {
    const Answer answer = client.post(router.port(), "/v1/chat/completions",
                                      chat_body("m", kPrompt + std::to_string(i % 5), i % 2 == 0));
    answered += answer.response.status == 200 ? 1 : 0;
  }
  ended = true;
  changes.join();
  CHECK(answered == 50);
  CHECK(eventually([&] { return router.is_empty(); }));
}
