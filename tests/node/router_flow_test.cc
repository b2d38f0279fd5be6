// The request path over real sockets against scripted instances. Each scenario ends with nothing
// held: no live request, every gauge zero, no body bytes.
#include <doctest/doctest.h>

#include <set>

#include "node/router/api_error.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

void die_at_once(std::shared_ptr<net::Exchange> exchange) { exchange->abort(); }

}  // namespace

TEST_CASE("a chat request is answered through an instance, and the headers say which") {
  FakeInstance one(completing("hello"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;

  const Answer whole =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "hi", false));
  CHECK(whole.response.status == 200);
  CHECK(has(whole, R"("content":"hello")"));
  CHECK(header(whole, "x-dualmesh-node") == "n1");
  CHECK(header(whole, "x-dualmesh-instance") == "e1");
  CHECK(header(whole, "x-dualmesh-reason") == "only_candidate");
  CHECK(one.last_request().target == "/v1/chat/completions");
  CHECK(one.last_request().body == chat_body("m", "hi", false));  // never rewritten

  const Answer streamed =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "hi", true));
  CHECK(header(streamed, "Content-Type") == "text/event-stream");
  CHECK(streamed.response.body ==
        event("h") + event("e") + event("l") + event("l") + event("o") + "data: [DONE]\n\n");
  CHECK(eventually([&] { return router.is_empty(); }));
  const auto totals =
      router.scheduler.read([](const policies::Scheduler& inner) { return inner.totals(); });
  CHECK(totals.finished == 2);
  CHECK(totals.reported_cached_tokens == 4);  // from the whole answer; the stream carried no usage
}

TEST_CASE("a stream is passed on piece by piece, and the first token frees the prefill place") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
    exchange->begin(200, event_stream());
    held.push_back(std::move(exchange));
  });
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const auto first =
      client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "a", true)));
  REQUIRE(eventually([&] { return one.requests() == 1; }));
  // The limit is one request without a first token: the second waits at the router.
  const auto second =
      client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "b", true)));
  REQUIRE(eventually([&] { return router.flow.live_requests() == 2; }));
  const auto load = [&] {
    return router.scheduler.read(
        [](const policies::Scheduler& inner) { return inner.queues().at(0).own; });
  };
  REQUIRE(eventually([&] { return load().queued_requests == 1; }));
  CHECK(one.requests() == 1);

  one.run([&] { held[0]->write(event("x")); });
  CHECK(first->first_piece.get_future().wait_for(kPatience) == std::future_status::ready);
  CHECK(eventually([&] { return one.requests() == 2; }));
  CHECK(eventually([&] { return load().decoding_requests == 1; }));
  one.run([&] {
    for (const auto& exchange : held) exchange->end();
    held.clear();
  });
  CHECK(first->done.get_future().get().response.body == event("x"));
  CHECK(second->done.get_future().get().error == net::ClientError::none);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("answers that are not streamed do not block an instance for their whole length") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) { held.push_back(exchange); });
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  std::vector<std::shared_ptr<TestClient::Open>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(client.open(
        router.port(), post_request("/v1/chat/completions", chat_body("m", "same", false))));
  }
  // None has been answered, yet all get there, each after the estimated prefill of the one before.
  CHECK(eventually([&] { return one.requests() == 3; }));
  one.run([&] {
    for (const auto& exchange : held) answer_json(*exchange, 200, "{}");
    held.clear();
  });
  for (const auto& call : calls) CHECK(call->done.get_future().get().response.status == 200);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("equal prefixes go to the same instance") {
  FakeInstance one(completing("x")), two(completing("x")), three(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}},
                               {"e2", two.address(), {"m"}},
                               {"e3", three.address(), {"m"}}}));
  TestClient client;
  const std::string prefix(5'000, 'p');
  std::set<std::string> chosen;
  for (int i = 0; i < 8; ++i) {
    chosen.insert(header(client.post(router.port(), "/v1/chat/completions",
                                     chat_body("m", prefix + std::to_string(i), true)),
                         "x-dualmesh-instance"));
  }
  CHECK(chosen.size() == 1);
  CHECK(router.residency.size() >= 2);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("an instance that refuses, dies or answers 503 before the first byte is replaced") {
  FakeInstance good(completing("ok"));
  FakeInstance dying(die_at_once);
  FakeInstance busy(
      [](std::shared_ptr<net::Exchange> exchange) { answer_json(*exchange, 503, "{}"); });
  for (const std::string& bad : {unused_address(), dying.address(), busy.address()}) {
    CAPTURE(bad);
    TestRouter router(make_view({{"bad", bad, {"m"}}, {"good", good.address(), {"m"}}}));
    TestClient client;
    int retried = 0;
    for (int i = 0; i < 40; ++i) {
      const Answer answer =
          client.post(router.port(), "/v1/chat/completions",
                      chat_body("m", std::to_string(i) + std::string(3'000, 'z'), true));
      CHECK(answer.response.status == 200);
      CHECK(header(answer, "x-dualmesh-instance") == "good");
      retried += header(answer, "x-dualmesh-reason") == "retried";
    }
    CHECK(retried > 0);
    CHECK(router.flow.stats().retries.load() > 0);
    CHECK(eventually([&] { return router.is_empty(); }));
  }
}

TEST_CASE("an instance's own errors are passed on") {
  for (const int status : {400, 404, 422, 429, 500}) {
    FakeInstance one([status](std::shared_ptr<net::Exchange> exchange) {
      answer_json(*exchange, status, R"({"error":"mine"})");
    });
    TestRouter router(make_view({{"e1", one.address(), {"m"}}, {"e2", one.address(), {"m"}}}));
    TestClient client;
    const Answer answer =
        client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", false));
    CHECK(answer.response.status == status);
    CHECK(answer.response.body == R"({"error":"mine"})");
    CHECK(one.requests() == 1);
    CHECK(eventually([&] { return router.is_empty(); }));
  }
}

TEST_CASE("a client that goes away cancels its instance, before and after the first token") {
  for (const bool after_first_token : {false, true}) {
    CAPTURE(after_first_token);
    std::atomic<bool> instance_saw_it{false};
    std::shared_ptr<net::Exchange> held;
    FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
      exchange->on_gone([&] { instance_saw_it = true; });
      exchange->begin(200, event_stream());
      if (after_first_token) exchange->write(event("x"));
      held = std::move(exchange);
    });
    TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
    TestClient client;
    const auto call =
        client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "x", true)));
    REQUIRE(eventually([&] { return one.requests() == 1; }));
    if (after_first_token) call->first_piece.get_future().wait();
    client.abandon(call);
    CHECK(eventually([&] { return instance_saw_it.load(); }));
    CHECK(eventually([&] { return router.is_empty(); }));
    CHECK(router.flow.stats().clients_gone.load() == 1);
    one.run([&] { held.reset(); });
  }
}

TEST_CASE("a client that goes away while its request is queued leaves the queue") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) { held.push_back(exchange); });
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const auto request = post_request("/v1/chat/completions", chat_body("m", "x", true));
  const auto first = client.open(router.port(), request);
  REQUIRE(eventually([&] { return one.requests() == 1; }));
  const auto second = client.open(router.port(), request);
  REQUIRE(eventually([&] { return router.flow.live_requests() == 2; }));
  client.abandon(second);
  CHECK(eventually([&] { return router.flow.live_requests() == 1; }));
  one.run([&] {
    answer_json(*held[0], 200, "{}");
    held.clear();
  });
  CHECK(first->done.get_future().get().response.status == 200);
  CHECK(one.requests() == 1);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE(
    "an instance that breaks off mid-stream is not retried and the client sees a broken answer") {
  FakeInstance one([](std::shared_ptr<net::Exchange> exchange) {
    exchange->begin(200, event_stream());
    exchange->write(event("x"));
    exchange->abort();
  });
  TestRouter router(make_view({{"e1", one.address(), {"m"}}, {"e2", one.address(), {"m"}}}));
  TestClient client;
  const Answer answer =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", true));
  CHECK(answer.error == net::ClientError::truncated);
  CHECK(answer.response.body.starts_with(event("x")));
  CHECK(one.requests() == 1);
  CHECK(router.flow.stats().upstream_broken.load() == 1);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("a request that nobody takes in time is answered 503") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) { held.push_back(exchange); });
  FlowSettings settings = TestRouter::default_settings();
  settings.queue_timeout = std::chrono::seconds(1);
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), settings);
  TestClient client;
  const auto first =
      client.open(router.port(), post_request("/v1/chat/completions", chat_body("m", "x", true)));
  REQUIRE(eventually([&] { return one.requests() == 1; }));
  const Answer second =
      client.post(router.port(), "/v1/chat/completions", chat_body("m", "x", true));
  CHECK(second.response.status == 503);
  CHECK(has(second, R"("code":"queue_timeout")"));
  // The instance has not failed: it was never asked.
  const auto queue =
      router.scheduler.read([](const policies::Scheduler& inner) { return inner.queues().at(0); });
  CHECK(queue.failed == 0);
  one.run([&] {
    answer_json(*held[0], 200, "{}");
    held.clear();
  });
  first->done.get_future().wait();
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("draining breaks off what is left: queued, waiting for a head, and streaming") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  std::atomic<int> gone{0};
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
    exchange->on_gone([&] { ++gone; });
    if (held.empty()) {
      exchange->begin(200, event_stream());
      exchange->write(event("x"));
    }
    held.push_back(std::move(exchange));
  });
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const auto request = post_request("/v1/chat/completions", chat_body("m", "x", true));
  const auto streaming = client.open(router.port(), request);
  streaming->first_piece.get_future().wait();
  const auto waiting = client.open(router.port(), request);
  REQUIRE(eventually([&] { return one.requests() == 2; }));
  const auto queued = client.open(router.port(), request);
  REQUIRE(eventually([&] { return router.flow.live_requests() == 3; }));

  router.server.close_listener();
  router.flow.abort_all();
  // Cut off is only who has seen a part, and told in the stream; who has seen nothing is told.
  const auto cut = streaming->done.get_future().get();
  CHECK(cut.error != net::ClientError::none);
  CHECK(cut.response.body.find(R"("code":"draining")") != std::string::npos);
  CHECK(waiting->done.get_future().get().response.status == 503);
  CHECK(queued->done.get_future().get().response.status == 503);
  CHECK(eventually([&] { return router.is_empty(); }));
  CHECK(eventually([&] { return gone.load() == 2; }));  // the instance may stop computing
  one.run([&] { held.clear(); });
}

TEST_CASE("instances drained while requests wait: they move, nothing is lost") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance slow([&](std::shared_ptr<net::Exchange> exchange) { held.push_back(exchange); });
  FakeInstance other(completing("ok"));
  TestRouter router(make_view({{"slow", slow.address(), {"m"}}}));
  TestClient client;
  const auto request = post_request("/v1/chat/completions", chat_body("m", "x", true));
  const auto first = client.open(router.port(), request);
  REQUIRE(eventually([&] { return slow.requests() == 1; }));
  const auto second = client.open(router.port(), request);
  REQUIRE(eventually([&] { return router.flow.live_requests() == 2; }));
  const auto view = make_view({{"slow", slow.address(), {"m"}, policies::Lifecycle::draining},
                               {"other", other.address(), {"m"}}});
  auto changed = std::make_shared<policies::FleetView>(*view);
  changed->ring_digest = 2;
  router.scheduler.set_view(changed);
  CHECK(second->done.get_future().get().response.body.ends_with("data: [DONE]\n\n"));
  slow.run([&] {
    answer_json(*held[0], 200, "{}");
    held.clear();
  });
  CHECK(first->done.get_future().get().response.status == 200);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("while a node gives up, requests passed through give their place back") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  router.flow.abort_all();
  const Answer answer = client.get(router.port(), "/v1/other");
  CHECK(answer.response.status == 503);
  CHECK(has(answer, R"("code":"draining")"));
  CHECK(router.flow.pass_through_load().at(0) == 0);
  CHECK(router.flow.pass_through_load().at(policies::kNoSlot) == 0);
  CHECK(eventually([&] { return router.is_empty(); }));
  CHECK(one.requests() == 0);
}

TEST_CASE("a POST that is passed through is repeated only when it cannot have arrived") {
  FakeInstance dying(die_at_once);
  FakeInstance busy(
      [](std::shared_ptr<net::Exchange> exchange) { answer_json(*exchange, 503, "mine"); });
  FakeInstance good(
      [](std::shared_ptr<net::Exchange> exchange) { answer_json(*exchange, 200, "done"); });
  const auto router_with = [&](const std::string& first) {
    return std::make_unique<TestRouter>(
        make_view({{"e1", first, {"m"}}, {"e2", good.address(), {"m"}}}));
  };
  TestClient client;
  CHECK(client.post(router_with(dying.address())->port(), "/v1/files", "{}").response.status ==
        502);
  CHECK(client.post(router_with(busy.address())->port(), "/v1/files", "{}").response.body ==
        "mine");
  CHECK(good.requests() == 0);
  CHECK(client.post(router_with(unused_address())->port(), "/v1/files", "{}").response.body ==
        "done");
  CHECK(client.get(router_with(dying.address())->port(), "/v1/files").response.body == "done");
  CHECK(client.get(router_with(busy.address())->port(), "/v1/files").response.body == "done");
}

TEST_CASE("a routed request asks for an answer that the router can read") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  net::HttpRequest request = post_request("/v1/chat/completions", chat_body("m", "x", false));
  request.headers.add("Accept-Encoding", "gzip");
  CHECK(client.call(router.port(), request).response.status == 200);
  CHECK_FALSE(one.last_request().headers.has("Accept-Encoding"));
  request.target = "/v1/other";
  CHECK(client.call(router.port(), request).response.status == 200);
  CHECK(one.last_request().headers.find("Accept-Encoding") == "gzip");
}
