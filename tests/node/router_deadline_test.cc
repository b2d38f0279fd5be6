// The time a request may take: read from its header, and kept wherever the request is.
#include <doctest/doctest.h>

#include "node/router/upstream_heads.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;
using namespace std::chrono_literals;

namespace {

std::string read(const std::vector<std::string>& values, DeadlineSettings settings = {}) {
  net::Headers headers;
  for (const std::string& value : values) headers.add("X-Request-Timeout-Ms", value);
  const auto timeout = request_timeout(headers, settings);
  return timeout.has_error() ? "error" : std::to_string(timeout->count());
}

net::HttpRequest chat(const std::string& timeout, bool stream = true) {
  net::HttpRequest request = post_request("/v1/chat/completions", chat_body("m", "x", stream));
  request.headers.add(kTimeoutHeader, timeout);
  return request;
}

}  // namespace

TEST_CASE("the time a request may take is read, capped, or refused") {
  CHECK(read({}) == "0");
  CHECK(read({}, {.standard = 5s}) == "5000");
  CHECK(read({}, {.standard = 5s, .most = 2s}) == "2000");
  CHECK(read({"1"}) == "1");
  CHECK(read({"0250"}, {.standard = 5s}) == "250");
  CHECK(read({"9000"}, {.most = 2s}) == "2000");
  CHECK(read({"99999999999999999999999999"}, {.most = 2s}) == "2000");
  for (const char* bad : {"", "0", "000", "-1", "+5", "1.5", "1s", "0x10", " ", "1 2", "1,2", "ms",
                          "-99999999999999999999999999"}) {
    CAPTURE(std::string(bad));
    CHECK(read({bad}) == "error");
  }
}

TEST_CASE("nonsense is answered 400, and names the field") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const Answer answer = client.call(router.port(), chat("soon"));
  CHECK(answer.response.status == 400);
  CHECK(has(answer, "x-request-timeout-ms must be a whole number of milliseconds"));
  CHECK(one.requests() == 0);
  CHECK(router.flow.stats().bad_requests.load() == 1);
}

TEST_CASE("the time passes while a request waits, and while an instance owes the answer: 504") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  std::atomic<int> gone{0};
  FakeInstance silent([&](std::shared_ptr<net::Exchange> exchange) {
    exchange->on_gone([&] { ++gone; });
    held.push_back(std::move(exchange));
  });
  TestRouter router(make_view({{"e1", silent.address(), {"m"}}}));
  TestClient client;
  const auto first =
      client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "x", true)));
  REQUIRE(eventually([&] { return silent.requests() == 1; }));
  const Answer queued = client.call(router.port(), chat("50"));
  CHECK(queued.response.status == 504);
  CHECK(has(queued, R"("code":"request_timeout")"));
  CHECK(silent.requests() == 1);
  silent.run([&] {
    answer_json(*held[0], 200, "{}");
    held.clear();
  });
  CHECK(first->done.get_future().get().response.status == 200);

  const Answer sent = client.call(router.port(), chat("50"));
  CHECK(sent.response.status == 504);
  CHECK(has(sent, R"("code":"request_timeout")"));
  CHECK(eventually([&] { return gone == 1; }));  // the instance may stop
  CHECK(router.flow.stats().deadlines_passed.load() == 2);
  CHECK(eventually([&] { return router.is_empty(); }));
  // The instance is not blamed for a time that the client chose.
  CHECK(router.failures == 0);
  silent.run([&] { held.clear(); });
}

TEST_CASE("the time passes in mid-stream: an error event, and no proper end") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  std::atomic<int> gone{0};
  FakeInstance slow([&](std::shared_ptr<net::Exchange> exchange) {
    exchange->on_gone([&] { ++gone; });
    exchange->begin(200, event_stream());
    exchange->write(event("x"));
    held.push_back(std::move(exchange));
  });
  FlowSettings settings = TestRouter::default_settings();
  settings.deadlines.standard = 1s;
  TestRouter router(make_view({{"e1", slow.address(), {"m"}}}), settings);
  TestClient client;
  const Answer answer =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", true));
  CHECK(answer.response.status == 200);
  CHECK(answer.error == net::ClientError::truncated);
  CHECK(answer.response.body.starts_with(event("x") + "data: {\"error\":"));
  CHECK(has(answer, R"("code":"request_timeout")"));
  CHECK(answer.response.body.ends_with("\n\n"));
  CHECK(eventually([&] { return gone == 1; }));
  CHECK(eventually([&] { return router.is_empty(); }));
  slow.run([&] { held.clear(); });
}

TEST_CASE("what is passed through has its time as well, and quick answers are not touched") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance silent([&](std::shared_ptr<net::Exchange> exchange) {
    if (exchange->request().target == "/v1/quick") return answer_json(*exchange, 200, "{}");
    held.push_back(std::move(exchange));
  });
  TestRouter router(make_view({{"e1", silent.address(), {"m"}}}));
  TestClient client;
  net::HttpRequest request;
  request.method = "GET";
  request.target = "/v1/quick";
  request.headers.add(kTimeoutHeader, "60000");
  CHECK(client.call(router.port(), request).response.status == 200);
  request.target = "/v1/slow";
  request.headers.set(kTimeoutHeader, "50");
  CHECK(client.call(router.port(), request).response.status == 504);
  CHECK(router.flow.pass_through_load().at(0) == 0);
  CHECK(eventually([&] { return router.is_empty(); }));
  silent.run([&] { held.clear(); });
}

TEST_CASE("upstream is told what is left of the time, once") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  CHECK(client.call(router.port(), chat("600000", false)).response.status == 200);
  const net::HttpRequest request = one.last_request();
  const int left = std::stoi(std::string(request.headers.find(kTimeoutHeader)));
  CHECK(left <= 600'000);
  CHECK(left > 500'000);
  CHECK(client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", false))
            .response.status == 200);
  CHECK(!one.last_request().headers.has(kTimeoutHeader));
}
