// A whole node in one process: mesh alone, port 0, real sockets.
#include <doctest/doctest.h>

#include "node/router/node.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

Config alone(const std::vector<SeedInstance>& instances) {
  Config config;
  config.io_threads = 2;
  config.http_listen = "127.0.0.1:0";
  config.mesh.node_name = "test";
  config.mesh.listen = "127.0.0.1:0";
  config.mesh.alone = true;
  config.mesh.instances = instances;
  config.probe_interval_ms = 20;
  return config;
}

std::unique_ptr<Node> started(Config config) {
  auto node = Node::start(std::move(config));
  DUALMESH_CHECK(node.has_value(), "{}", node.error().message);
  return std::move(*node);
}

FakeInstance::Script serving(std::string model, FakeInstance::Script completions) {
  return [model, completions](std::shared_ptr<net::Exchange> exchange) {
    const std::string& target = exchange->request().target;
    if (target == "/health") return answer_json(*exchange, 200, "");
    if (target == "/v1/models") {
      return answer_json(*exchange, 200, R"({"data":[{"id":")" + model + R"("}]})");
    }
    completions(std::move(exchange));
  };
}

bool is_empty(const Node& node) {
  const net::ServerStats http = node.http_stats();
  return node.live_requests() == 0 && http.held_requests == 0 && http.held_body_bytes == 0;
}

}  // namespace

TEST_CASE("a node alone: becomes ready, learns models, serves, drains, stops with status 0") {
  FakeInstance one(serving("found", completing("hi")));
  FakeInstance two(serving("unseen", completing("hi")));
  const auto node =
      started(alone({{"e1", one.address(), {}, 1.0}, {"e2", two.address(), {"given"}, 1.0}}));
  REQUIRE(eventually([&] { return node->ready(); }));
  TestClient client;
  const std::uint16_t port = node->http_port();
  CHECK(client.get(port, "/health").response.status == 200);
  CHECK(client.get(port, "/ready").response.status == 200);

  // e1 says what it serves; for e2 the configuration has said it.
  CHECK(eventually([&] {
    return client.get(port, "/v1/models").response.body.find("found") != std::string::npos;
  }));
  const std::string models = client.get(port, "/v1/models").response.body;
  CHECK(models.find("given") != std::string::npos);
  CHECK(models.find("unseen") == std::string::npos);

  const Answer answer =
      client.post(port, "/v1/chat/completions", chat_body("found", "hello", true));
  CHECK(answer.response.status == 200);
  CHECK(answer.response.headers.find("x-dualmesh-node") == "test");
  CHECK(answer.response.headers.find("x-dualmesh-instance") == "e1");
  const std::string metrics = client.get(port, "/metrics").response.body;
  CHECK(metrics.find("dualmesh_requests_total{outcome=\"finished\"} 1\n") != std::string::npos);
  CHECK(eventually([&] {  // the mesh renews its part once a second
    return client.get(port, "/metrics").response.body.find("dualmesh_mesh_") != std::string::npos;
  }));
  CHECK(eventually([&] { return is_empty(*node); }));

  node->drain();
  CHECK(node->wait_stopped(std::chrono::duration_cast<std::chrono::milliseconds>(kPatience)));
  CHECK(node->exit_status() == 0);
  TestClient newcomer;
  CHECK(newcomer.get(port, "/health").error == net::ClientError::connect);
}

TEST_CASE("draining waits for what is in flight") {
  std::shared_ptr<net::Exchange> held;
  FakeInstance one(serving("m", [&](std::shared_ptr<net::Exchange> exchange) {
    exchange->begin(200, event_stream());
    exchange->write(event("x"));
    held = std::move(exchange);
  }));
  const auto node = started(alone({{"e1", one.address(), {"m"}, 1.0}}));
  REQUIRE(eventually([&] { return node->ready(); }));
  TestClient client;
  const auto call = client.open(node->http_port(),
                                post_request("/v1/chat/completions", chat_body("m", "x", true)));
  call->first_piece.get_future().wait();
  node->drain();
  REQUIRE(eventually([&] { return !node->ready(); }));
  CHECK(!node->wait_stopped(std::chrono::milliseconds(300)));
  one.run([&] {
    held->write(event("y"));
    held->end();
    held.reset();
  });
  CHECK(call->done.get_future().get().response.body == event("x") + event("y"));
  CHECK(node->wait_stopped(std::chrono::duration_cast<std::chrono::milliseconds>(kPatience)));
  CHECK(is_empty(*node));
}

TEST_CASE("draining is bounded: what does not end is broken off") {
  std::shared_ptr<net::Exchange> held;
  FakeInstance one(serving("m", [&](std::shared_ptr<net::Exchange> exchange) {
    exchange->begin(200, event_stream());
    exchange->write(event("x"));
    held = std::move(exchange);
  }));
  Config config = alone({{"e1", one.address(), {"m"}, 1.0}});
  config.drain_timeout_s = 0;
  const auto node = started(std::move(config));
  REQUIRE(eventually([&] { return node->ready(); }));
  TestClient client;
  const auto call = client.open(node->http_port(),
                                post_request("/v1/chat/completions", chat_body("m", "x", true)));
  call->first_piece.get_future().wait();
  node->drain();
  CHECK(call->done.get_future().get().error != net::ClientError::none);
  CHECK(node->wait_stopped(std::chrono::duration_cast<std::chrono::milliseconds>(kPatience)));
  CHECK(node->exit_status() == 0);
  CHECK(is_empty(*node));
  one.run([&] { held.reset(); });
}

TEST_CASE("what a hung instance has not begun to answer is answered by another") {
  // The one that gets the first request takes it, never answers, and is unwell from then on.
  std::atomic<int> hung{-1};
  std::shared_ptr<net::Exchange> held;
  const auto script = [&](int self) -> FakeInstance::Script {
    return [&, self](std::shared_ptr<net::Exchange> exchange) {
      const std::string& target = exchange->request().target;
      if (target == "/v1/models") return answer_json(*exchange, 404, "");
      if (target == "/health") return answer_json(*exchange, hung == self ? 500 : 200, "");
      int nobody = -1;
      if (!hung.compare_exchange_strong(nobody, self)) return completing("x")(std::move(exchange));
      exchange->begin(200, event_stream());  // a head is no answer yet
      held = std::move(exchange);
    };
  };
  FakeInstance one(script(0)), two(script(1));
  Config config = alone({{"e1", one.address(), {"m"}, 1.0}, {"e2", two.address(), {"m"}, 1.0}});
  config.models_interval_s = 3'600;
  const auto node = started(std::move(config));
  REQUIRE(eventually([&] { return node->ready(); }));
  TestClient client;
  const Answer answer =
      client.post(node->http_port(), "/v1/chat/completions", chat_body("m", "x", true));
  CHECK(answer.response.status == 200);
  CHECK(answer.response.headers.find("x-dualmesh-reason") == "retried");
  CHECK(answer.response.headers.find("x-dualmesh-instance") == (hung == 0 ? "e2" : "e1"));
  CHECK(answer.response.body.ends_with("data: [DONE]\n\n"));
  CHECK(eventually([&] { return is_empty(*node); }));
  (hung == 0 ? one : two).run([&] { held.reset(); });
}

TEST_CASE("a node destroyed while it is busy leaves quietly") {
  std::vector<std::shared_ptr<net::Exchange>> held;
  FakeInstance one(serving(
      "m", [&](std::shared_ptr<net::Exchange> exchange) { held.push_back(std::move(exchange)); }));
  auto node = started(alone({{"e1", one.address(), {"m"}, 1.0}}));
  REQUIRE(eventually([&] { return node->ready(); }));
  TestClient client;
  const auto request = post_request("/v1/chat/completions", chat_body("m", "x", true));
  const auto first = client.open(node->http_port(), request);
  const auto second = client.open(node->http_port(), request);
  REQUIRE(eventually([&] { return node->live_requests() == 2; }));
  node.reset();
  CHECK(first->done.get_future().get().error != net::ClientError::none);
  CHECK(second->done.get_future().get().error != net::ClientError::none);
  one.run([&] { held.clear(); });
}

TEST_CASE("a client address that is taken ends the node with status 1") {
  FakeInstance other([](std::shared_ptr<net::Exchange>) {});
  Config config = alone({});
  config.http_listen = other.address();
  const auto node = started(std::move(config));
  CHECK(node->wait_stopped(std::chrono::duration_cast<std::chrono::milliseconds>(kPatience)));
  CHECK(node->exit_status() == 1);
}

TEST_CASE("a mesh address that is taken is an error at once") {
  FakeInstance other([](std::shared_ptr<net::Exchange>) {});
  Config config = alone({});
  config.mesh.listen = other.address();
  CHECK(Node::start(std::move(config)).has_error());
}
