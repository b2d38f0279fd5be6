// The front door: paths, keys, bad input of every shape, pass-through, and the merged models.
#include <doctest/doctest.h>

#include "node/router/discovery.h"
#include "node/router/flow_stats.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

bool is_openai_error(const Answer& answer) {
  const std::string& body = answer.response.body;
  return body.find(R"("error")") != std::string::npos &&
         body.find(R"("message")") != std::string::npos &&
         body.find(R"("type")") != std::string::npos &&
         body.find(R"("param")") != std::string::npos &&
         body.find(R"("code")") != std::string::npos;
}

}  // namespace

TEST_CASE("bad input is a clear 4xx in OpenAI's shape and leaves nothing behind") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  struct Row {
    const char* path;
    const char* body;
    int status;
  };
  const Row rows[] = {
      {"/v1/chat/completions", "", 400},
      {"/v1/chat/completions", "{", 400},
      {"/v1/chat/completions", "[]", 400},
      {"/v1/chat/completions", "null", 400},
      {"/v1/chat/completions", "\"text\"", 400},
      {"/v1/chat/completions", "\xff\xfe", 400},
      {"/v1/chat/completions", R"({"messages":[]})", 400},
      {"/v1/chat/completions", R"({"model":5,"messages":[]})", 400},
      {"/v1/chat/completions", R"({"model":"","messages":[]})", 400},
      {"/v1/chat/completions", R"({"model":null})", 400},
      {"/v1/chat/completions", R"({"model":"nope","messages":[{"role":"user","content":"x"}]})",
       404},
      {"/v1/completions", R"({"prompt":"x"})", 400},
      {"/v1/completions", R"({"model":"nope","prompt":"x"})", 404},
      {"/v1/embeddings", R"({"model":"nope","input":"x"})", 404},
      {"/v1/responses", R"({"model":"nope","input":"x"})", 404},
      {"/v1/rerank", R"({"model":"nope","query":"x"})", 404},
      {"/nothing", "{}", 404},
      {"/v2/chat/completions", "{}", 404},
  };
  for (const Row& row : rows) {
    CAPTURE(row.path);
    CAPTURE(row.body);
    const Answer answer = client.post(router.port(), row.path, row.body);
    CHECK(answer.response.status == row.status);
    CHECK(is_openai_error(answer));
  }
  const std::string deep = R"({"model":"m","messages":)" + std::string(100'000, '[');
  CHECK(client.post(router.port(), "/v1/chat/completions", deep).response.status == 400);
  CHECK(one.requests() == 0);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("every shape of prompt that the API allows is passed on unchanged") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const std::pair<const char*, const char*> rows[] = {
      {"/v1/chat/completions", R"({"model":"m","messages":[{"role":"user","content":"x"}]})"},
      {"/v1/chat/completions",
       R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},)"
       R"({"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]})"},
      {"/v1/chat/completions",
       R"({"model":"m","messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1",)"
       R"("type":"function","function":{"name":"f","arguments":"{}"}}]}],"tools":[]})"},
      {"/v1/completions", R"({"model":"m","prompt":"x"})"},
      {"/v1/completions", R"({"model":"m","prompt":["x","y"]})"},
      {"/v1/completions", R"({"model":"m","prompt":[1,2,3]})"},
      {"/v1/completions", R"({"model":"m","prompt":[[1,2],[3]]})"},
      {"/v1/embeddings", R"({"model":"m","input":"x"})"},
      {"/v1/embeddings", R"({"model":"m","input":["x","y"]})"},
      {"/v1/embeddings", R"({"model":"m","input":[1,2]})"},
      {"/v1/responses", R"({"model":"m","input":"x","instructions":"i"})"},
      {"/v1/responses",
       R"({"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}]})"},
  };
  for (const auto& row : rows) {
    CAPTURE(row.first);
    CAPTURE(row.second);
    CHECK(client.post(router.port(), row.first, row.second).response.status == 200);
    CHECK(one.last_request().body == row.second);
  }
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE(
    "other requests are passed through: by model where one is named, retried, and accounted") {
  FakeInstance one(completing("x"));
  FakeInstance dying([](std::shared_ptr<net::Exchange> exchange) { exchange->abort(); });
  TestRouter router(
      make_view({{"dying", dying.address(), {"other"}}, {"e1", one.address(), {"m"}}}));
  TestClient client;

  const Answer named = client.post(router.port(), "/v1/rerank", R"({"model":"m","query":"x"})");
  CHECK(named.response.status == 200);
  CHECK(named.response.headers.find("x-dualmesh-instance") == "e1");
  CHECK(named.response.headers.find("x-dualmesh-reason") == "passed_through");
  CHECK(dying.requests() == 0);

  const Answer any = client.get(router.port(), "/v1/files?limit=2");
  CHECK(any.response.status == 200);
  CHECK(any.response.headers.find("x-dualmesh-instance") == "e1");
  CHECK(one.last_request().target == "/v1/files?limit=2");
  CHECK(dying.requests() >= 1);  // tried first, and replaced

  CHECK(client.post(router.port(), "/v1/audio", "not json").response.status == 502);
  CHECK(router.flow.stats().passed_through.load() == 3);
  CHECK(eventually([&] { return router.is_empty(); }));

  TestRouter empty(make_view({}));
  CHECK(client.get(empty.port(), "/v1/files").response.status == 503);
  CHECK(eventually([&] { return empty.is_empty(); }));
}

TEST_CASE("keys: 401 without a known one, and ours is not shown to the instances") {
  FakeInstance one(completing("x"));
  FlowSettings settings = TestRouter::default_settings();
  settings.drop_client_key = true;
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), settings,
                    {.api_keys = {"key-one", "key-two"}});
  TestClient client;
  auto request = post_request("/v1/chat/completions", chat_body("m", "x", false));
  const Answer none = client.call(router.port(), request);
  CHECK(none.response.status == 401);
  CHECK(is_openai_error(none));
  for (const char* wrong :
       {"Bearer", "Bearer ", "Bearer key", "Bearer key-one x", "Basic key-one"}) {
    CAPTURE(wrong);
    request.headers.set("Authorization", wrong);
    CHECK(client.call(router.port(), request).response.status != 200);
  }
  CHECK(one.requests() == 0);
  for (const char* right : {"Bearer key-one", "bearer key-two"}) {
    request.headers.set("Authorization", right);
    CHECK(client.call(router.port(), request).response.status == 200);
    CHECK(!one.last_request().headers.has("Authorization"));
  }
  CHECK(client.get(router.port(), "/v1/models").response.status == 401);
  for (const char* open : {"/health", "/ready", "/metrics"}) {
    CHECK(client.get(router.port(), open).response.status == 200);
  }
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("a key is judged at the head: who has none need not send the body") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), TestRouter::default_settings(),
                    {.api_keys = {"key"}});
  TestClient client;
  // A body beyond the limit would be 413, if anybody read it.
  auto request = post_request("/v1/chat/completions", std::string(40 << 20, 'x'));
  CHECK(client.call(router.port(), request).response.status == 401);
  CHECK(eventually([&] { return router.is_empty(); }));
  CHECK(router.flow.stats().unauthorized.load() == 1);
}

TEST_CASE("the token of /metrics opens nothing else, and nothing else opens /metrics") {
  TestRouter router(make_view({}), TestRouter::default_settings(), {.api_keys = {"key"}}, 2, {}, {},
                    to_text(digest_of("token")));
  TestClient client;
  const auto status = [&](const std::string& target, const std::string& bearer) {
    net::HttpRequest request;
    request.method = "GET";
    request.target = target;
    if (!bearer.empty()) request.headers.set("Authorization", "Bearer " + bearer);
    return client.call(router.port(), request).response.status;
  };
  CHECK(status("/metrics", "") == 401);
  CHECK(status("/metrics", "key") == 401);
  CHECK(status("/metrics", to_text(digest_of("token"))) == 401);
  CHECK(status("/metrics", "token") == 200);
  CHECK(status("/v1/models", "token") == 401);
  CHECK(status("/v1/models", "key") == 200);
  CHECK(status("/health", "") == 200);
  CHECK(status("/ready", "") == 200);
}

TEST_CASE("an instance's key replaces the client's; without keys the client's is passed on") {
  FakeInstance one(completing("x"));
  TestClient client;
  auto request = post_request("/v1/chat/completions", chat_body("m", "x", false));
  request.headers.set("Authorization", "Bearer mine");
  request.headers.set("X-Dualmesh-Instance", "e7");
  request.headers.set("x-mine", "7");
  {
    TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
    client.call(router.port(), request);
    CHECK(one.last_request().headers.find("Authorization") == "Bearer mine");
    CHECK(one.last_request().headers.find("x-mine") == "7");
    CHECK_FALSE(one.last_request().headers.has("x-dualmesh-instance"));  // ours alone to say
  }
  {
    FlowSettings settings = TestRouter::default_settings();
    settings.upstream_authorization = "Bearer theirs";
    TestRouter router(make_view({{"e1", one.address(), {"m"}}}), settings);
    client.call(router.port(), request);
    CHECK(one.last_request().headers.find("Authorization") == "Bearer theirs");
    CHECK(one.last_request().headers.find("Host") == one.address());
  }
}

TEST_CASE("the list of models is merged, one entry per model") {
  TestRouter router(make_view({{"e1", "127.0.0.1:1", {"m", "org/n"}},
                               {"e2", "127.0.0.1:2", {"m"}},
                               {"e3", "127.0.0.1:3", {"old"}, policies::Lifecycle::removed}}));
  TestClient client;
  const Answer list = client.get(router.port(), "/v1/models");
  CHECK(list.response.body ==
        R"({"object":"list","data":[{"created":0,"id":"m","object":"model","owned_by":"dualmesh"},)"
        R"({"created":0,"id":"org/n","object":"model","owned_by":"dualmesh"}]})");
  CHECK(client.get(router.port(), "/v1/models/m").response.status == 200);
  CHECK(client.get(router.port(), "/v1/models/org/n").response.status == 200);
  CHECK(client.get(router.port(), "/v1/models/org%2Fn").response.status == 200);
  CHECK(client.get(router.port(), "/v1/models/old").response.status == 404);
}

TEST_CASE("models as instances describe them") {
  const auto listed = parse_models(
      R"({"object":"list","data":[{"id":"m","owned_by":"vllm","x":[1]},{"noid":1},5]})");
  REQUIRE(listed.has_value());
  REQUIRE(listed->size() == 1);
  const auto view = make_view({{"e1", "a:1", {"m", "n"}}});
  const auto merged = merge_models(*view, {*listed});
  REQUIRE(merged.size() == 2);
  CHECK(merged[0].json == R"({"id":"m","owned_by":"vllm","x":[1]})");
  CHECK(merged[1].id == "n");
  for (const char* bad : {"", "[]", "{}", R"({"data":5})", "\xff"}) CHECK(!parse_models(bad));
}

TEST_CASE("adapters are told from models by their parent") {
  const auto listed = parse_models(
      R"({"data":[{"id":"m","parent":null},{"id":"n","parent":"n"},{"id":"o","parent":5},)"
      R"({"id":"p"},{"id":"q","parent":""},{"id":"a","parent":"m"}]})");
  REQUIRE(listed.has_value());
  for (const ListedModel& model : *listed) CHECK(model.adapter == (model.id == "a"));
}

TEST_CASE("own paths answer reads only") {
  TestRouter router(make_view({}));
  TestClient client;
  CHECK(client.get(router.port(), "/health").response.body == R"({"status":"ok"})");
  CHECK(client.get(router.port(), "/ready").response.status == 200);
  CHECK(client.get(router.port(), "/metrics").response.body == "metric 1\n");
  CHECK(client.post(router.port(), "/health", "").response.status == 405);
}

TEST_CASE("a histogram counts each value in the first bucket that holds it") {
  SecondsHistogram histogram;
  for (const double seconds : {0.0005, 0.001, 0.3, 1e6}) histogram.observe(seconds);
  MetricsText text;
  histogram.append_to(text, "t", "Help.");
  const std::string out = text.take();
  CHECK(out.find("t_bucket{le=\"0.001\"} 2\n") != std::string::npos);
  CHECK(out.find("t_bucket{le=\"0.25\"} 2\n") != std::string::npos);
  CHECK(out.find("t_bucket{le=\"0.5\"} 3\n") != std::string::npos);
  CHECK(out.find("t_bucket{le=\"2560\"} 3\n") != std::string::npos);
  CHECK(out.find("t_bucket{le=\"+Inf\"} 4\n") != std::string::npos);
  CHECK(out.find("t_count 4\n") != std::string::npos);
}

TEST_CASE("a look-up is news when it differs, whatever its order") {
  Discovery::Changes changes;
  std::vector<std::string> found{"b:1", "a:1"};
  CHECK(changes.note(found, "") == "is a:1, b:1");
  found = {"a:1", "b:1"};
  CHECK(changes.note(found, "") == "");
  found = {};
  CHECK(changes.note(found, "timed out") == "has no address (timed out); nobody is removed for it");
  CHECK(changes.note(found, "timed out") == "");
  found = {"a:1"};
  CHECK(changes.note(found, "") == "is a:1");
}

TEST_CASE("plain prompts are read while they arrive, unusual ones afterwards") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const auto post = [&](const std::string& body) {
    return client.post(router.port(), "/v1/chat/completions", body).response.status;
  };
  const std::string long_text(300'000, 'x');
  CHECK(post(chat_body("m", long_text, false)) == 200);
  CHECK(router.flow.stats().scanned.load() == 1);
  CHECK(post(R"({"messages":[{"content":"x","role":"user"}],"model":"m","tools":[{}]})") == 200);
  CHECK(router.flow.stats().scanned.load() == 2);
  CHECK(post(R"({"m\u006fdel":"m","messages":[{"role":"user","content":"x"}]})") == 200);
  CHECK(post(R"({"model":"m","model":"m","messages":[{"role":"user","content":"x"}]})") == 200);
  CHECK(post(chat_body("m", long_text + "\xff", false)) == 400);
  CHECK(router.flow.stats().scanned.load() == 2);
  CHECK(router.flow.stats().routed.load() == 4);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("a prompt that comes compressed is refused at its head") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  const auto post = [&](const std::string& path, const std::string& coding) {
    net::HttpRequest request = post_request(path, chat_body("m", "x", false));
    request.headers.add("Content-Encoding", coding);
    const auto open = client.open(router.port(), request);
    return open->done.get_future().get();
  };
  const Answer refused = post("/v1/chat/completions", "gzip");
  CHECK(refused.response.status == 415);
  CHECK(is_openai_error(refused));
  CHECK(refused.response.body.find("Content-Encoding") != std::string::npos);
  CHECK(post("/v1/chat/completions", "identity, gzip").response.status == 415);
  CHECK(post("/v1/chat/completions", "Identity").response.status == 200);
  CHECK(post("/v1/other", "gzip").response.status == 200);
  CHECK(eventually([&] { return router.is_empty(); }));
}
