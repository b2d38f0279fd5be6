// Who is told at once to come again, when the operator asked for it.
#include <doctest/doctest.h>

#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

net::HttpRequest chat_of(const std::string& user) {
  return post_request("/v1/chat/completions", R"({"model":"m","stream":true,"user":")" + user +
                                                  R"(","messages":[{"role":"user","content":")" +
                                                  std::string(4'000, 'x') + R"("}]})");
}

// An instance that keeps what it gets.
struct Keeper {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance instance{
      [this](std::shared_ptr<net::Exchange> exchange) { held.push_back(std::move(exchange)); }};
  void release() {
    instance.run([this] {
      for (const auto& exchange : held) answer_json(*exchange, 200, "{}");
      held.clear();
    });
  }
};

}  // namespace

TEST_CASE("a full line is 503, or 429 for whoever fills it; those in it are served") {
  Keeper keeper;
  FlowSettings settings = TestRouter::default_settings();
  settings.admission.max_waiting = 3;
  TestRouter router(make_view({{"e1", keeper.instance.address(), {"m"}}}), settings);
  TestClient client;
  std::vector<std::shared_ptr<TestClient::Open>> open;
  const auto add = [&](const std::string& user, std::uint64_t live) {
    open.push_back(client.open(router.port(), chat_of(user)));
    REQUIRE(eventually([&] { return router.flow.live_requests() == live; }));
  };
  add("greedy", 1);
  REQUIRE(eventually([&] { return keeper.instance.requests() == 1; }));
  add("greedy", 2);
  add("greedy", 3);
  add("modest", 4);
  const Answer own = client.call(router.port(), chat_of("greedy"));
  CHECK(own.response.status == 429);
  CHECK(has(own, R"("code":"rate_limit_exceeded")"));
  CHECK(own.response.headers.find("Retry-After") == "1");
  const Answer other = client.call(router.port(), chat_of("newcomer"));
  CHECK(other.response.status == 503);
  CHECK(has(other, R"("code":"overloaded")"));
  CHECK(router.flow.stats().refused_early.load() == 2);
  while (router.flow.live_requests() > 0) keeper.release();
  for (const auto& each : open) {
    CHECK(each->done.get_future().get().response.status == 200);
  }
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("a wait beyond the SLOs allowed is refused at once; an idle instance never refuses") {
  Keeper keeper;
  FlowSettings settings = TestRouter::default_settings();
  settings.admission.refuse_over_slos = 1e-6;
  TestRouter router(make_view({{"e1", keeper.instance.address(), {"m"}}}), settings);
  TestClient client;
  const auto first = client.open(router.port(), chat_of("a"));
  REQUIRE(eventually([&] { return keeper.instance.requests() == 1; }));
  const Answer late = client.call(router.port(), chat_of("b"));
  CHECK(late.response.status == 503);
  CHECK(has(late, "too late"));
  CHECK(late.response.headers.has("Retry-After"));
  keeper.release();
  CHECK(first->done.get_future().get().response.status == 200);
  CHECK(eventually([&] { return router.is_empty(); }));
}
