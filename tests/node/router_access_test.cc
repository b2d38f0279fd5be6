// What is written down of requests, and by which id they are found: over real sockets.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "node/router/secret_arguments.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;
using nlohmann::json;

namespace {

constexpr const char* kTraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

// A log file, and the records in it once the log has been closed.
class LogFile {
 public:
  LogFile() {
    char name[] = "/tmp/router-access-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    ::close(file);
    path_ = name;
    auto opened = AccessLog::open({.file = path_, .node = "n1", .lanes = 2});
    REQUIRE(opened.has_value());
    log_ = std::move(*opened);
  }
  ~LogFile() { std::filesystem::remove(path_); }

  AccessKeeping keeping() {
    return {log_.get(), monotonic_now, [] { return std::int64_t{1'700'000'000'000'000}; }};
  }
  std::vector<json> close() {
    log_.reset();
    std::ifstream file(path_);
    std::vector<json> records;
    for (std::string line; std::getline(file, line);) records.push_back(json::parse(line));
    return records;
  }

 private:
  std::string path_;
  std::unique_ptr<AccessLog> log_;
};

net::HttpRequest chat(bool stream,
                      std::initializer_list<std::pair<const char*, const char*>> more) {
  net::HttpRequest request = post_request("/v1/chat/completions", chat_body("m", "hi", stream));
  for (const auto& [name, value] : more) request.headers.add(name, value);
  return request;
}

IdentitySettings two_tenants() {
  IdentitySettings identity;
  identity.namespace_secret = std::string(32, 's');
  for (const char* name : {"a", "b"}) {
    TenantSettings tenant;
    tenant.name = name;
    tenant.keys = {digest_of(std::string("key-") + name)};
    tenant.private_prefixes = true;
    identity.tenants.push_back(tenant);
  }
  return identity;
}

}  // namespace

TEST_CASE("a request keeps its id, or gets one, on both sides and in every answer") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), TestRouter::default_settings(),
                    {.api_keys = {"key"}});
  TestClient client;
  const Answer kept = client.call(
      router.port(), chat(true, {{"Authorization", "Bearer key"}, {"X-Request-Id", "mine-1"}}));
  CHECK(kept.response.headers.find("x-request-id") == "mine-1");
  CHECK(one.last_request().headers.find("x-request-id") == "mine-1");
  const Answer made =
      client.call(router.port(),
                  chat(false, {{"Authorization", "Bearer key"}, {"X-Request-Id", "not {good}"}}));
  const std::string id(made.response.headers.find("x-request-id"));
  CHECK(id.size() == 32);
  CHECK(one.last_request().headers.find("x-request-id") == id);
  net::HttpRequest bad = chat(false, {{"Authorization", "Bearer key"}, {"X-Request-Id", "mine-2"}});
  bad.body = "{";
  net::HttpRequest lost = bad;
  lost.target = "/nothing";
  net::HttpRequest unknown = bad;
  unknown.body = chat_body("nope", "x", false);
  for (const auto& [request, status] : {std::pair{bad, 400},
                                        {lost, 404},
                                        {unknown, 404},
                                        {chat(false, {{"X-Request-Id", "mine-2"}}), 401}}) {
    const Answer answer = client.call(router.port(), request);
    CHECK(answer.response.status == status);
    CHECK(answer.response.headers.find("x-request-id") == "mine-2");
  }
  CHECK(client.get(router.port(), "/health").response.headers.find("x-request-id").size() == 32);
}

TEST_CASE("a good trace context goes on as it came, a malformed one not at all") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}));
  TestClient client;
  client.call(router.port(), chat(false, {{"traceparent", kTraceParent}, {"tracestate", "v=1"}}));
  CHECK(one.last_request().headers.find("traceparent") == kTraceParent);
  CHECK(one.last_request().headers.find("tracestate") == "v=1");
  client.call(router.port(), chat(false, {{"traceparent", "00-1-2-3"}, {"tracestate", "v=1"}}));
  CHECK(!one.last_request().headers.has("traceparent"));
  CHECK(!one.last_request().headers.has("tracestate"));
  client.call(router.port(), chat(false, {}));
  CHECK(!one.last_request().headers.has("traceparent"));
}

TEST_CASE("the log has one record for each request, however it ended") {
  FakeInstance one(completing("x"));
  FakeInstance failing([](std::shared_ptr<net::Exchange> exchange) {
    answer_json(*exchange, 500, R"({"error":{}})");
  });
  std::vector<std::shared_ptr<net::Exchange>> kept;
  FakeInstance silent([&](std::shared_ptr<net::Exchange> exchange) { kept.push_back(exchange); });
  LogFile file;
  IdentitySettings identity = two_tenants();
  {
    FlowSettings settings = TestRouter::default_settings();
    settings.upstream_timeouts.first_byte = std::chrono::milliseconds(200);
    TestRouter router(make_view({{"e1", one.address(), {"m"}},
                                 {"e2", failing.address(), {"bad"}},
                                 {"e3", silent.address(), {"slow"}}}),
                      settings, identity, 2, {}, {}, {}, file.keeping());
    TestClient client;
    const auto ask = [&](const char* id, const char* key, net::HttpRequest request) {
      request.headers.set("X-Request-Id", id);
      request.headers.set("traceparent", kTraceParent);
      request.headers.set("Authorization", std::string("Bearer ") + key);
      client.call(router.port(), std::move(request));
    };
    net::HttpRequest with_query = chat(true, {});
    with_query.target += "?api-key=query-secret";
    ask("complete", "key-a", with_query);
    ask("unauthorized", "wrong-secret", chat(false, {}));
    ask("unknown", "key-b", post_request("/v1/completions", R"({"model":"no","prompt":"p"})"));
    ask("failed", "key-b", post_request("/v1/completions", R"({"model":"bad","prompt":"p"})"));
    ask("late", "key-b", post_request("/v1/completions", R"({"model":"slow","prompt":"p"})"));
    ask("too-large", "key-a", post_request("/v1/completions", std::string(33 << 20, ' ')));
    CHECK(eventually([&] { return router.is_empty(); }));
  }
  silent.run([&] { kept.clear(); });
  std::map<std::string, json> records;
  std::string all;
  for (const json& record : file.close()) {
    all += record.dump();
    CHECK(records.emplace(record["request_id"].get<std::string>(), record).second);
  }
  REQUIRE(records.size() == 6);
  const auto is = [&](const char* id, int status, const char* end) {
    CAPTURE(id);
    const json& record = records[id];
    CHECK(record["status"] == status);
    CHECK(record["end"] == end);
    CHECK(record["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736");
    CHECK(record["client"] == "127.0.0.1");
    CHECK(record["method"] == "POST");
    CHECK(record["total_ms"].get<double>() > 0);
  };
  is("complete", 200, "complete");
  is("unauthorized", 401, "refused");
  is("unknown", 404, "refused");
  is("failed", 500, "complete");  // its answer was passed on in full
  is("late", 504, "timeout");
  is("too-large", 413, "refused");
  const json& complete = records["complete"];
  CHECK(complete["tenant"] == "a");
  CHECK(complete["instance"] == "e1");
  CHECK(complete["path"] == "/v1/chat/completions");
  CHECK(complete["model"] == "m");
  CHECK(complete["bytes_in"] == chat_body("m", "hi", true).size());
  CHECK(complete["bytes_out"].get<int>() > 0);
  CHECK(complete.contains("ttft_ms"));
  CHECK(complete.contains("queue_wait_ms"));
  CHECK(complete.contains("reason"));
  CHECK(!records["unauthorized"].contains("tenant"));
  CHECK(records["late"]["instance"] == "e3");
  for (const char* secret : {"key-a", "query-secret", "wrong-secret", "sha256"}) {
    CHECK(all.find(secret) == std::string::npos);
  }
}

TEST_CASE("prefixes of tenants that ask for it meet nobody else's") {
  FakeInstance one(completing("x"));
  TestRouter router(make_view({{"e1", one.address(), {"m"}}}), TestRouter::default_settings(),
                    two_tenants());
  const auto arrival_of = [&](const Asker& asker) {
    net::PromptFields fields;
    fields.model = "m";
    fields.canonical = std::string(10'000, 'p');
    fields.system_key = 5;
    fields.user = "somebody";
    ReadPrompt prompt = cut_prompt(fields, {}, asker.salt());
    return make_arrival(router.flow.settings(), prompt, asker);
  };
  const auto directory = router.tenants.directory();
  const Asker a{directory->find("key-a"), directory->find("key-a")->client};
  const Asker b{directory->find("key-b"), directory->find("key-b")->client};
  const policies::Arrival shared = arrival_of({});
  const policies::Arrival of_a = arrival_of(a);
  const policies::Arrival of_b = arrival_of(b);
  CHECK(of_a.chain.blocks == arrival_of(a).chain.blocks);
  std::set<policies::BlockKey> keys;
  std::size_t count = 0;
  for (const policies::Arrival* arrival : {&shared, &of_a, &of_b}) {
    for (const policies::BlockKey key : arrival->chain.blocks) keys.insert(key), ++count;
    keys.insert(arrival->chain.whole), ++count;
  }
  CHECK(keys.size() == count);
  CHECK(std::set<std::uint64_t>{shared.system_key, of_a.system_key, of_b.system_key}.size() == 3);
  CHECK(shared.client == policies::client_key("somebody"));
  CHECK(of_a.client == policies::client_key("a"));
}

TEST_CASE("secrets among the flags are blanked in place") {
  std::vector<std::string> given = {
      "dualmeshd", "--http.api_keys=one,two", "--mesh.alone", "true", "--http.namespace_secret",
      "three",     "--http.metrics_token"};
  std::vector<char*> argv;
  for (std::string& argument : given) argv.push_back(argument.data());
  CHECK(blank_secret_arguments(static_cast<int>(argv.size()), argv.data()) ==
        std::vector<std::string>{"http.api_keys", "http.namespace_secret", "http.metrics_token"});
  CHECK(given == std::vector<std::string>{"dualmeshd", "--http.api_keys=*******", "--mesh.alone",
                                          "true", "--http.namespace_secret", "*****",
                                          "--http.metrics_token"});
}
