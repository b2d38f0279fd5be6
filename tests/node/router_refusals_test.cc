// What a client is told when it is refused, and how its answers are counted: over real sockets.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "node/router/settings_table.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

std::string message_of(const Answer& answer) {
  return nlohmann::json::parse(answer.response.body)["error"]["message"].get<std::string>();
}

// The setting named in brackets at the end; null: there is none of that name.
const Setting* setting_in(const std::string& message) {
  const std::size_t at = message.rfind('(');
  REQUIRE(at != std::string::npos);
  REQUIRE(message.ends_with(')'));
  return find_setting(message.substr(at + 1, message.size() - at - 2));
}

}  // namespace

TEST_CASE("who asks for too much is told the limit and the setting that changes it") {
  net::ServerLimits limits;
  limits.body_bytes = 2'000;
  limits.head_bytes = 3'000;
  limits.header_fields = 20;
  TestRouter router(make_view({}), TestRouter::default_settings(), {}, 2, {}, limits);
  TestClient client;
  const auto check = [&](const net::HttpRequest& request, int status, const std::string& limit) {
    const Answer answer = client.call(router.port(), request);
    CHECK(answer.response.status == status);
    const std::string message = message_of(answer);
    CAPTURE(message);
    CHECK(message.find("more than " + limit + " ") != std::string::npos);
    CHECK(setting_in(message) != nullptr);
  };
  check(post_request("/v1/completions", std::string(2'001, ' ')), 413, "2000 bytes");
  net::HttpRequest wide = post_request("/v1/completions", "{}");
  wide.headers.set("x-wide", std::string(3'000, 'x'));
  check(wide, 431, "3000 bytes");
  net::HttpRequest many = post_request("/v1/completions", "{}");
  for (int i = 0; i < 21; ++i) many.headers.add("x-" + std::to_string(i), "1");
  check(many, 431, "20");
  check(post_request("/v1/" + std::string(3'000, 'x'), "{}"), 414, "3000 bytes");
}

TEST_CASE("who is not let in is told what is wrong, and what to do") {
  TestRouter router(make_view({}), TestRouter::default_settings(), {.api_keys = {"key"}}, 2, {}, {},
                    to_text(digest_of("token")));
  TestClient client;
  const auto told = [&](const std::string& target, const std::string& authorization) {
    net::HttpRequest request;
    request.method = "GET";
    request.target = target;
    if (!authorization.empty()) request.headers.set("Authorization", authorization);
    const Answer answer = client.call(router.port(), request);
    CHECK(answer.response.status == 401);
    CHECK(answer.response.headers.find("WWW-Authenticate") == "Bearer");
    return message_of(answer);
  };
  CHECK(told("/v1/models", "") == "No key came: send it as `Authorization: Bearer ...`.");
  for (const char* other : {"Basic a2V5", "key", "Bearer", "Bearer "}) {
    CHECK(told("/v1/models", other) == "The Authorization field is not `Bearer` and then a key.");
  }
  const std::string unknown = told("/v1/models", "Bearer marked");
  CHECK(unknown.find("not known here") != std::string::npos);
  CHECK(unknown.find("marked") == std::string::npos);
  CHECK(unknown == told("/v1/models", "Bearer ke"));  // however near it comes
  CHECK(told("/metrics", "").starts_with("No token came"));
  CHECK(told("/metrics", "Bearer key").find("http.metrics_token") != std::string::npos);
}

TEST_CASE("answers are counted by tenant and class of status") {
  FakeInstance one(completing("x"));
  IdentitySettings identity;
  identity.tenants = {{.name = "search", .keys = {digest_of("k1"), digest_of("k2")}},
                      {.name = "idle", .keys = {}}};
  identity.api_keys = {"clear"};
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), TestRouter::default_settings(),
                    identity);
  TestClient client;
  const auto ask = [&](const std::string& key, const std::string& model) {
    net::HttpRequest request = post_request("/v1/completions", R"({"prompt":"x","model":")" +
                                                                   model + "\"}");
    request.headers.set("Authorization", "Bearer " + key);
    return client.call(router.port(), request).response.status;
  };
  CHECK(ask("k1", "m") == 200);
  CHECK(ask("k2", "m") == 200);
  CHECK(ask("k2", "nobody's") == 404);
  CHECK(ask("clear", "m") == 200);
  CHECK(ask("wrong", "m") == 401);
  CHECK(client.get(router.port(), "/ready").response.status == 200);
  CHECK(client.get(router.port(), "/nowhere").response.status == 404);
  CHECK(eventually([&] { return router.is_empty(); }));
  const auto samples = [&] {
    MetricsText out;
    router.door.append_answers(out);
    std::string text = out.take();
    return text.substr(text.rfind("counter\n") + 8);
  };
  const std::string expected =
      "dualmesh_answers_total{tenant=\"\",status=\"2xx\"} 1\n"
      "dualmesh_answers_total{tenant=\"\",status=\"4xx\"} 1\n"
      "dualmesh_answers_total{tenant=\"search\",status=\"2xx\"} 2\n"
      "dualmesh_answers_total{tenant=\"search\",status=\"4xx\"} 1\n";
  CHECK(eventually([&] { return samples() == expected; }));
  CHECK(samples() == expected);
}
