// What the client is told when attempts fail, and how many attempts are made: over real sockets.
#include <doctest/doctest.h>

#include "node/router/failed_attempts.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

void die_at_once(std::shared_ptr<net::Exchange> exchange) { exchange->abort(); }

FakeInstance::Script busy(std::string retry_after) {
  return [retry_after](std::shared_ptr<net::Exchange> exchange) {
    net::HttpResponse response;
    response.status = 503;
    if (!retry_after.empty()) response.headers.add("Retry-After", retry_after);
    response.body = "mine";
    exchange->respond(std::move(response));
  };
}

struct Told {
  int status = 0;
  std::string retry_after;
  std::string body;
};

// One chat request to a router of these instances.
Told ask(const std::vector<std::string>& addresses,
         const FlowSettings& settings = TestRouter::default_settings()) {
  std::vector<ViewInstance> instances;
  for (const std::string& address : addresses) {
    instances.push_back({"e" + std::to_string(instances.size()), address, {"m"}});
  }
  TestRouter router(make_view(instances), settings);
  TestClient client;
  const Answer answer =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", true));
  CHECK(eventually([&] { return router.is_empty(); }));
  return {answer.response.status, std::string(answer.response.headers.find("Retry-After")),
          answer.response.body};
}

bool has(const Told& told, std::string_view text) {
  return told.body.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("connections that fail everywhere are 502, however many were tried") {
  FakeInstance dying(die_at_once);
  FlowSettings once = TestRouter::default_settings();
  once.max_retries = 0;
  for (const auto& told :
       {ask({dying.address(), dying.address()}), ask({dying.address()}),
        ask({unused_address(), unused_address()}), ask({dying.address(), dying.address()}, once)}) {
    CHECK(told.status == 502);
    CHECK(has(told, R"("code":"upstream_failed")"));
  }
  CHECK(dying.requests() >= 4);
}

TEST_CASE("an instance that answers no HTTP is 502") {
  FakeInstance odd([](std::shared_ptr<net::Exchange> exchange) {
    exchange->begin(200, event_stream());
    exchange->abort();  // a head, and nothing behind it
  });
  const Told told = ask({odd.address()});
  CHECK(told.status == 502);
  CHECK(has(told, R"("code":"upstream_failed")"));
}

TEST_CASE("the 503 of the last instance is passed on as it is") {
  FakeInstance one(busy("17"));
  FakeInstance two(busy("17"));
  const Told told = ask({one.address(), two.address()});
  CHECK(told.status == 503);
  CHECK(told.retry_after == "17");
  CHECK(told.body == "mine");
  CHECK(one.requests() == 1);
  CHECK(two.requests() == 1);
}

TEST_CASE("one was busy and the other is gone: come again when the busy one said") {
  FakeInstance one(busy("9"));
  FakeInstance dying(die_at_once);
  const Told told = ask({one.address(), dying.address()});
  CHECK(told.status == 503);
  CHECK(told.retry_after == "9");
  // Its own words where it was asked last, ours where the other was.
  CHECK((told.body == "mine" || has(told, R"("code":"upstream_unavailable")")));
}

TEST_CASE("one that was late is 504, and nobody else is asked") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance silent([&](std::shared_ptr<net::Exchange> exchange) { held.push_back(exchange); });
  FlowSettings settings = TestRouter::default_settings();
  settings.upstream_timeouts.first_byte = std::chrono::milliseconds(50);
  const Told told = ask({silent.address(), silent.address()}, settings);
  CHECK(told.status == 504);
  CHECK(has(told, R"("code":"upstream_timeout")"));
  CHECK(silent.requests() == 1);
  silent.run([&] { held.clear(); });
}

TEST_CASE("where nobody could be asked there is no instance") {
  TestRouter router(make_view({{"e1", unused_address(), {"m"}, policies::Lifecycle::draining}}));
  TestClient client;
  const Answer routed =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", true));
  CHECK(routed.response.status == 503);
  CHECK(routed.response.headers.find("Retry-After") == "1");
  CHECK(routed.response.body.find(R"("code":"no_instance")") != std::string::npos);
  const Answer passed = client.get(router.port(), "/v1/other");
  CHECK(passed.response.status == 503);
  CHECK(passed.response.body.find(R"("code":"no_instance")") != std::string::npos);
  CHECK(router.flow.stats().no_instance.load() == 2);
}

TEST_CASE("what is passed through is told the same") {
  FakeInstance dying(die_at_once);
  TestRouter router(make_view({{"e1", dying.address(), {"m"}}, {"e2", dying.address(), {"m"}}}));
  TestClient client;
  const Answer answer = client.get(router.port(), "/v1/other");
  CHECK(answer.response.status == 502);
  CHECK(dying.requests() >= 2);
  CHECK(router.flow.stats().no_instance.load() == 0);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("when the budget of retries is used up, what the first instance said is final") {
  FakeInstance one(busy("3"));
  FakeInstance good(completing("ok"));
  FlowSettings settings = TestRouter::default_settings();
  settings.retry_budget.share = 0.0;
  settings.retry_budget.free_retries = 4;
  TestRouter router(make_view({{"bad", one.address(), {"m"}}, {"good", good.address(), {"m"}}}),
                    settings, {}, 1);
  TestClient client;
  int final_busy = 0;
  constexpr int kRequests = 60;
  for (int i = 0; i < kRequests; ++i) {
    const Answer answer =
        client.post(router.port(), "/v1/chat/completions",
                    chat_body("m", std::to_string(i) + std::string(3'000, 'z'), true));
    if (answer.response.status == 200) continue;
    ++final_busy;
    CHECK(answer.response.status == 503);
    CHECK(answer.response.body == "mine");
  }
  CHECK(router.flow.stats().retries.load() == 4);
  CHECK(final_busy > 0);
  CHECK(router.flow.stats().retries_refused.load() == static_cast<std::uint64_t>(final_busy));
  CHECK(one.requests() == 4 + final_busy);
  CHECK(one.requests() + good.requests() == kRequests + 4);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("what the failures of one request amount to") {
  net::Headers later;
  later.add("Retry-After", "30");
  FailedAttempts failures;
  CHECK(!failures.any());
  failures.failed(net::ClientError::timeout);
  CHECK(failures.answer().status == 504);
  failures.failed(net::ClientError::malformed);
  CHECK(failures.any());
  CHECK(failures.answer().status == 502);
  failures.answered(502, later);
  CHECK(failures.answer().status == 502);
  failures.answered(503, {});
  CHECK(failures.answer().headers.find("Retry-After") == "1");
  failures.answered(503, later);
  failures.failed(net::ClientError::connect);
  CHECK(failures.answer().status == 503);
  CHECK(failures.answer().headers.find("Retry-After") == "30");
}
