// A request that one node hands to another, over real sockets. Each scenario ends with nothing
// held at either of them.
#include <doctest/doctest.h>

#include "node/router/upstream_heads.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

ViewPointer view_of(const std::string& instance, const std::string& peer = {}) {
  auto view = std::make_shared<policies::FleetView>(
      *make_view({{"e1", instance, {"m"}}}, "selective_push"));
  if (!peer.empty()) {
    view->peers = std::make_shared<const policies::Peers>(policies::Peers{{"n2", peer, {0}}});
  }
  return view;
}

FlowSettings named(const std::string& name) {
  FlowSettings settings = TestRouter::default_settings();
  settings.node_name = name;
  settings.drop_client_key = true;
  return settings;
}

// n1, whose probes of e1 fail. It still gets there, as it tries when it has nobody else: so
// what is not handed over shows up at `own`.
struct CutOff {
  explicit CutOff(const std::string& peer, FlowSettings settings = named("n1"))
      : router(view_of(own.address(), peer), std::move(settings), {.api_keys = {"key"}}) {
    router.scheduler.enter(
        [](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
          scheduler.set_health(0, false, now, effects);
        });
  }
  Answer ask(bool stream, net::Headers more = {}) {
    return client.call(router.port(), request(stream, std::move(more)));
  }
  static net::HttpRequest request(bool stream, net::Headers more = {}) {
    net::HttpRequest request = post_request("/v1/chat/completions", chat_body("m", "hi", stream));
    request.headers.add("Authorization", "Bearer key");
    for (const net::Headers::Field field : more) request.headers.add(field.name, field.value);
    return request;
  }
  std::uint64_t handed() const {
    return router.scheduler.read(
        [](const policies::Scheduler& scheduler) { return scheduler.totals().handed; });
  }
  bool is_empty() const {
    return eventually([this] { return router.is_empty(); });
  }

  FakeInstance own{completing("own")};
  TestRouter router;
  TestClient client;
};

// n2, which reaches `instance` as e1.
struct Reaching {
  explicit Reaching(const FakeInstance& instance)
      : router(view_of(instance.address()), named("n2"), {.api_keys = {"key"}}) {}
  std::string address() const { return "127.0.0.1:" + std::to_string(router.port()); }
  TestRouter router;
};

FakeInstance::Script answering(int status, bool of_an_instance) {
  return [=](std::shared_ptr<net::Exchange> exchange) {
    net::HttpResponse response = net::json_response(status, R"({"from":"peer"})");
    if (of_an_instance) response.headers.add("x-dualmesh-instance", "e1");
    exchange->respond(std::move(response));
  };
}

}  // namespace

TEST_CASE("a request is handed to the node that reaches its instance, and its answer comes back") {
  FakeInstance instance(completing("hello"));
  Reaching two(instance);
  CutOff one(two.address());
  for (const bool stream : {true, false}) {
    CAPTURE(stream);
    const Answer answer = one.ask(stream);
    CHECK(answer.response.status == 200);
    CHECK(header(answer, "x-dualmesh-node") == "n1");
    CHECK(header(answer, "x-dualmesh-handed-to") == "n2");
    CHECK(header(answer, "x-dualmesh-instance") == "e1");
    CHECK(header(answer, "x-dualmesh-reason") == "handed");
    if (stream) {
      CHECK(answer.response.body ==
            event("h") + event("e") + event("l") + event("l") + event("o") + "data: [DONE]\n\n");
    }
    CHECK(instance.last_request().body == chat_body("m", "hi", stream));
    CHECK_FALSE(instance.last_request().headers.has(kHopHeader));
    CHECK_FALSE(instance.last_request().headers.has("Authorization"));
  }
  CHECK(one.is_empty());
  CHECK(eventually([&] { return two.router.is_empty(); }));
  CHECK(one.handed() == 2);
  CHECK(one.own.requests() == 0);
  CHECK(one.router.flow.stats().handed_back.load() == 0);
  CHECK(two.router.flow.stats().handed_here.load() == 2);
  const auto decisions = one.router.scheduler.read(
      [](const policies::Scheduler& scheduler) { return scheduler.decisions(1); });
  REQUIRE(decisions.size() == 1);
  CHECK(decisions[0].handed_to == "n2");
  CHECK(decisions[0].outcome == policies::Outcome::finished);
}

TEST_CASE("more answers that are not streamed than may hop at a time follow one another") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance instance([&](std::shared_ptr<net::Exchange> exchange) { held.push_back(exchange); });
  Reaching two(instance);
  CutOff one(two.address());
  std::vector<std::shared_ptr<TestClient::Open>> calls;
  for (int i = 0; i < 5; ++i) {
    calls.push_back(one.client.open(one.router.port(), CutOff::request(false)));
  }
  // None has been answered, yet all get there, each after an estimated prefill.
  CHECK(eventually([&] { return instance.requests() == 5; }));
  instance.run([&] {
    for (const auto& exchange : held) answer_json(*exchange, 200, "{}");
    held.clear();
  });
  for (const auto& call : calls) CHECK(call->done.get_future().get().response.status == 200);
  CHECK(one.is_empty());
  CHECK(one.own.requests() == 0);
}

TEST_CASE("whoever says that it was handed over is not handed on, and no instance hears of it") {
  FakeInstance instance(completing("hello"));
  Reaching two(instance);
  CutOff one(two.address());
  for (const std::string& from :
       {std::string("n7"), std::string("n1"), std::string(), std::string(3'000, 'x')}) {
    net::Headers mark;
    mark.add("X-DualMesh-Handed-By", from);
    const Answer answer = one.ask(true, mark);
    CHECK(answer.response.status == 200);
    CHECK(header(answer, "x-dualmesh-reason") == "only_candidate");
    CHECK_FALSE(one.own.last_request().headers.has(kHopHeader));
  }
  CHECK(one.own.requests() == 4);
  CHECK(one.router.flow.stats().handed_here.load() == 4);
  CHECK(one.handed() == 0);
  CHECK(instance.requests() == 0);
  CHECK(one.is_empty());
}

TEST_CASE("two nodes that name each other do not play ball") {
  CutOff one("127.0.0.1:1");
  Reaching two(one.own);
  const auto cut = [](TestRouter& router, const std::string& instance, std::uint16_t peer) {
    router.scheduler.set_view(view_of(instance, "127.0.0.1:" + std::to_string(peer)));
    router.scheduler.enter(
        [](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
          scheduler.set_health(0, false, now, effects);
        });
  };
  cut(one.router, one.own.address(), two.router.port());
  cut(two.router, one.own.address(), one.router.port());
  const Answer answer = one.ask(true);
  CHECK(header(answer, "x-dualmesh-handed-to") == "n2");
  CHECK(one.own.requests() == 1);
  CHECK(two.router.flow.stats().handed_here.load() == 1);
  CHECK(one.router.flow.stats().handed_here.load() == 0);
  CHECK(one.is_empty());
  CHECK(eventually([&] { return two.router.is_empty(); }));
}

TEST_CASE("a hop that fails before the first byte comes back, once, and is placed here") {
  FakeInstance dying([](std::shared_ptr<net::Exchange> exchange) { exchange->abort(); });
  FakeInstance full(answering(503, false));
  FakeInstance knows_no_key(answering(401, false));
  FakeInstance gave_up(answering(502, true));
  FakeInstance stranger(answering(200, false));
  for (FakeInstance* peer : {&dying, &full, &knows_no_key, &gave_up, &stranger}) {
    FlowSettings settings = named("n1");
    settings.max_retries = 0;  // of attempts at instances
    CutOff one(peer->address(), settings);
    const Answer answer = one.ask(true);
    CHECK(answer.response.status == 200);
    CHECK(header(answer, "x-dualmesh-reason") == "retried");
    CHECK_FALSE(answer.response.headers.has("x-dualmesh-handed-to"));
    CHECK(peer->requests() == 1);
    CHECK(one.own.requests() == 1);
    CHECK(one.router.flow.stats().handed_back.load() == 1);
    CHECK(one.router.failures == 0);  // no instance is blamed
    CHECK(one.is_empty());
  }
  CutOff one("127.0.0.1:1");
  CHECK(header(one.ask(false), "x-dualmesh-reason") == "retried");
  CHECK(one.is_empty());
}

TEST_CASE("what the other node's instance says is passed on, and so is that it was late") {
  for (const int status : {400, 429, 500, 504}) {
    const bool of_an_instance = status != 504;
    CAPTURE(status);
    FakeInstance peer(answering(status, of_an_instance));
    CutOff one(peer.address());
    const Answer answer = one.ask(false);
    CHECK(answer.response.status == status);
    CHECK(answer.response.body == R"({"from":"peer"})");
    CHECK(one.own.requests() == 0);
    CHECK(one.is_empty());
  }
}

TEST_CASE("a client that goes away cancels its hop, before and after the first token") {
  for (const bool after_first_token : {false, true}) {
    CAPTURE(after_first_token);
    std::atomic<bool> instance_saw_it{false};
    std::shared_ptr<net::Exchange> held;
    FakeInstance instance([&](std::shared_ptr<net::Exchange> exchange) {
      exchange->on_gone([&] { instance_saw_it = true; });
      exchange->begin(200, event_stream());
      if (after_first_token) exchange->write(event("x"));
      held = std::move(exchange);
    });
    Reaching two(instance);
    CutOff one(two.address());
    const auto call = one.client.open(one.router.port(), CutOff::request(true));
    REQUIRE(eventually([&] { return instance.requests() == 1; }));
    if (after_first_token) call->first_piece.get_future().wait();
    one.client.abandon(call);
    CHECK(eventually([&] { return instance_saw_it.load(); }));
    CHECK(one.is_empty());
    CHECK(eventually([&] { return two.router.is_empty(); }));
    CHECK(one.router.flow.stats().clients_gone.load() == 1);
    instance.run([&] { held.reset(); });
  }
}

TEST_CASE("a hop that breaks off after its first byte is the client's to see") {
  FakeInstance instance([](std::shared_ptr<net::Exchange> exchange) {
    exchange->begin(200, event_stream());
    exchange->write(event("x"));
    exchange->abort();
  });
  Reaching two(instance);
  CutOff one(two.address());
  const Answer answer = one.ask(true);
  CHECK(answer.error == net::ClientError::truncated);
  CHECK(answer.response.body.starts_with(event("x")));
  CHECK(instance.requests() == 1);
  CHECK(one.own.requests() == 0);
  CHECK(one.router.flow.stats().upstream_broken.load() == 1);
  CHECK(one.router.flow.stats().handed_back.load() == 0);
  CHECK(one.is_empty());
  CHECK(eventually([&] { return two.router.is_empty(); }));
}

TEST_CASE("a node that shuts down breaks its hops off") {
  std::shared_ptr<net::Exchange> held;
  FakeInstance instance([&](std::shared_ptr<net::Exchange> exchange) { held = exchange; });
  Reaching two(instance);
  CutOff one(two.address());
  const auto call = one.client.open(one.router.port(), CutOff::request(true));
  REQUIRE(eventually([&] { return instance.requests() == 1; }));
  one.router.flow.abort_all();
  CHECK(call->done.get_future().get().response.status == 503);
  CHECK(one.is_empty());
  CHECK(eventually([&] { return two.router.is_empty(); }));
  instance.run([&] { held.reset(); });
}
