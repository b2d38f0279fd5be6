// Tokens on the request path, over real sockets: who is asked, how long a request waits for it, and
// where it goes then. Each scenario ends with nothing held.
#include <doctest/doctest.h>

#include <atomic>

#include "node/router/api_error.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;
using policies::HitSource;

namespace {

constexpr std::uint32_t kBlock = 16;
constexpr std::size_t kTokens = 320;

policies::TokenId token(std::size_t i) { return static_cast<policies::TokenId>(1'000 + i); }

// An engine with /tokenize: answers with kTokens tokens, or as `tokenize` does.
struct Engine {
  using Script = FakeInstance::Script;
  explicit Engine(Script tokenize_as = {}, std::size_t cached = 0)
      : tokenize(std::move(tokenize_as)), cached_tokens(cached) {}

  static std::string tokens_json() {
    std::string text = R"({"count":320,"max_model_len":4096,"tokens":[)";
    for (std::size_t i = 0; i < kTokens; ++i) {
      text += (i > 0 ? "," : "") + std::to_string(token(i));
    }
    return text + "]}";
  }

  Script tokenize;
  std::size_t cached_tokens;
  std::string refuses;  // requests with this in them
  std::atomic<int> asked{0}, completed{0};
  std::atomic<int> rank{-1};  // that the last completion named
  FakeInstance instance{[this](std::shared_ptr<net::Exchange> exchange) {
    if (exchange->request().target != "/tokenize") {
      ++completed;
      if (!refuses.empty() &&
          std::string_view(exchange->request().body).find(refuses) != std::string::npos) {
        return answer_json(*exchange, 400, "{}");
      }
      const std::string_view named = exchange->request().headers.find(kRankHeader);
      rank = named.empty() ? -1 : std::stoi(std::string(named));
      return answer_json(*exchange, 200,
                         R"({"usage":{"prompt_tokens":320,"prompt_tokens_details":)"
                         R"({"cached_tokens":)" +
                             std::to_string(cached_tokens) + "}}}");
    }
    ++asked;
    if (tokenize) return tokenize(std::move(exchange));
    answer_json(*exchange, 200, tokens_json());
  }};
};

FakeInstance::Script refusing(int status) {
  return [status](std::shared_ptr<net::Exchange> exchange) {
    answer_json(*exchange, status, R"({"error":"no"})");
  };
}

FlowSettings settings(std::chrono::milliseconds timeout = kPatience) {
  FlowSettings settings = TestRouter::default_settings();
  settings.tokens.timeout = timeout;
  return settings;
}

// A router in front of engines e0, e1, ... with events, of which `holder` holds the prompt.
struct Scene {
  explicit Scene(const std::vector<Engine*>& engines, FlowSettings flow = settings(),
                 std::size_t holder = 0, std::uint32_t ranks = 1)
      : router(view_of(engines), std::move(flow)) {
    KvView view;
    view.index = &index;
    view.caches.push_back({});
    for (std::size_t i = 0; i < engines.size() * ranks; ++i) {
      view.caches.push_back({static_cast<policies::Slot>(i / ranks),
                             static_cast<std::uint32_t>(i % ranks), HitSource::exact, kBlock});
    }
    view.derive();
    router.flow.knowledge().set_kinds({{"m", false}});
    router.flow.knowledge().publish(std::make_shared<const KvView>(view));
    std::vector<policies::TokenId> ids;
    for (std::size_t i = 0; i < kTokens; ++i) ids.push_back(token(i));
    std::vector<policies::BlockKey> keys;
    policies::token_chain(policies::token_root(kBlock, {}, {}), kBlock, ids, keys);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      index.add(keys[i], static_cast<policies::CacheId>(holder + 1), policies::Medium::gpu,
                static_cast<std::uint16_t>(i));
    }
  }
  ~Scene() {
    CHECK(eventually([&] { return router.is_empty(); }));
  }

  static ViewPointer view_of(const std::vector<Engine*>& engines) {
    std::vector<ViewInstance> instances;
    for (Engine* engine : engines) {
      instances.push_back(
          {"e" + std::to_string(instances.size()), engine->instance.address(), {"m"}});
    }
    return make_view(instances, "dualmesh");
  }
  std::string chat(const std::string& text = "hello") {
    const Answer answer =
        client.post(router.port(), "/v1/chat/completions", chat_body("m", text, false));
    CHECK(answer.response.status == 200);
    return std::string(answer.response.headers.find("x-dualmesh-instance"));
  }
  policies::CandidateEstimate chosen() const {
    return router.scheduler.read(
        [](const policies::Scheduler& inner) { return inner.decisions(1).at(0).candidates[0]; });
  }
  std::string metrics() const { return router.flow.cache_metrics(); }

  policies::BlockIndex index{{10'000}};
  TestRouter router;
  TestClient client;
};

bool says(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("a request goes where its tokens are cached, and the same prompt is asked for once") {
  Engine e0({}, 304), e1({}, 304), e2({}, 304);
  for (std::size_t holder = 0; holder < 3; ++holder) {
    const int asked = e0.asked + e1.asked + e2.asked;
    Scene scene({&e0, &e1, &e2}, settings(), holder);
    for (int i = 0; i < 5; ++i) {
      CHECK(scene.chat() == "e" + std::to_string(holder));
      CHECK(scene.chosen().source == HitSource::exact);
      CHECK(scene.chosen().hit_tokens == 304);  // the last block is computed
    }
    CHECK(e0.asked + e1.asked + e2.asked == asked + 1);
    CHECK(eventually([&] { return scene.router.is_empty(); }));
    const std::string metrics = scene.metrics();
    CHECK(says(metrics, R"(dualmesh_kv_prompt_tokens_total{from="asked"} 1)"));
    CHECK(says(metrics, R"(dualmesh_kv_prompt_tokens_total{from="cache"} 4)"));
    CHECK(says(metrics, R"(dualmesh_kv_tokenize_total{end="tokens"} 1)"));
    const PredictionReport report = scene.router.flow.predictions().reports().at(0);
    CHECK(report.by_source[static_cast<std::size_t>(HitSource::exact)].samples == 5);
    CHECK(report.by_source[static_cast<std::size_t>(HitSource::exact)].absolute_error == 0);
  }
}

TEST_CASE("what is asked is what decides the tokens, with the instances' key") {
  Engine engine;
  std::atomic<bool> right{false};
  engine.tokenize = [&](std::shared_ptr<net::Exchange> exchange) {
    const net::HttpRequest& request = exchange->request();
    right = request.method == "POST" && request.headers.find("Authorization") == "Bearer up" &&
            request.body == R"({"model":"m","messages":[{"role":"user","content":"hello"}]})";
    answer_json(*exchange, 200, Engine::tokens_json());
  };
  FlowSettings flow = settings();
  flow.upstream_authorization = "Bearer up";
  Scene scene({&engine}, flow);
  scene.chat();
  CHECK(right.load());
}

TEST_CASE("no waiting where nobody can tell: 404, 400 for messages, and answers without tokens") {
  for (const auto& [script, end] :
       {std::pair<FakeInstance::Script, std::string>{refusing(404), "unable"},
        {refusing(501), "unable"},
        {refusing(400), "refused"},
        {refusing(503), "late"},
        {refusing(200), "malformed"}}) {
    const std::string expected = end;  // clang captures no structured binding
    CAPTURE(expected);
    Engine engine(script);
    Scene scene({&engine});
    for (int i = 0; i < 3; ++i) scene.chat();
    CHECK(engine.asked >= 1);
    if (end != "late") CHECK(engine.asked == 1);
    CHECK(engine.completed == 3);
    CHECK(says(scene.metrics(), "dualmesh_kv_tokenize_total{end=\"" + end + "\"} 1"));
    CHECK(scene.chosen().source == HitSource::predicted);
  }
}

TEST_CASE("a request that the engine refuses, too, keeps nobody else from asking") {
  Engine engine;
  engine.tokenize = [](std::shared_ptr<net::Exchange> exchange) {
    const bool bad = std::string_view(exchange->request().body).find("bad") != std::string::npos;
    answer_json(*exchange, bad ? 400 : 200, bad ? "{}" : Engine::tokens_json());
  };
  engine.refuses = "bad";
  Scene scene({&engine});
  for (int i = 0; i < 3; ++i) {
    const std::string body = chat_body("m", "bad " + std::to_string(i), false);
    CHECK(scene.client.post(scene.router.port(), "/v1/chat/completions", body).response.status ==
          400);
  }
  scene.chat();
  CHECK(engine.asked == 4);
  CHECK(scene.chosen().source == HitSource::exact);
}

TEST_CASE("an instance that is late is waited for once, and not by those that come next") {
  std::mutex mutex;
  std::vector<std::shared_ptr<net::Exchange>> held;
  Engine engine([&](std::shared_ptr<net::Exchange> exchange) {
    const std::lock_guard lock(mutex);
    held.push_back(std::move(exchange));
  });
  {
    Scene scene({&engine}, settings(std::chrono::milliseconds(20)));
    scene.chat();
    CHECK(engine.asked == 1);
    CHECK(engine.completed == 1);
    CHECK(says(scene.metrics(), R"(dualmesh_kv_tokenize_total{end="late"} 1)"));
    CHECK(says(scene.metrics(), R"(dualmesh_kv_prompt_tokens_total{from="unknown"} 1)"));
  }
  engine.instance.run([&] { held.clear(); });
}

TEST_CASE("a client that leaves while its tokens are asked for leaves nothing behind") {
  std::mutex mutex;
  std::vector<std::shared_ptr<net::Exchange>> held;
  Engine engine([&](std::shared_ptr<net::Exchange> exchange) {
    const std::lock_guard lock(mutex);
    held.push_back(std::move(exchange));
  });
  {
    Scene scene({&engine});
    const auto open = scene.client.open(
        scene.router.port(), post_request("/v1/chat/completions", chat_body("m", "x", true)));
    REQUIRE(eventually([&] { return engine.asked == 1; }));
    scene.client.abandon(open);
    CHECK(eventually([&] { return scene.router.is_empty(); }));
    CHECK(engine.completed == 0);
    CHECK(says(scene.metrics(), R"(dualmesh_kv_tokenize_total{end="called_off"} 1)"));
    // And one that is broken off by the node is told so.
    const auto second = scene.client.open(
        scene.router.port(), post_request("/v1/chat/completions", chat_body("m", "y", true)));
    REQUIRE(eventually([&] { return engine.asked == 2; }));
    scene.router.flow.abort_all();
    CHECK(second->done.get_future().get().response.status == 503);
  }
  engine.instance.run([&] { held.clear(); });
}

TEST_CASE("a conversation's next turn is known as far as it was, when nobody answers any more") {
  std::atomic<bool> silent{false};
  Engine e0, e1;
  for (Engine* engine : {&e0, &e1}) {
    engine->tokenize = [&](std::shared_ptr<net::Exchange> exchange) {
      answer_json(*exchange, silent ? 404 : 200, Engine::tokens_json());
    };
  }
  for (std::size_t holder = 0; holder < 2; ++holder) {
    silent = false;
    Scene scene({&e0, &e1}, settings(), holder);
    const std::string first(3'000, 'a');
    const auto turn = [&](const std::string& more) {
      const std::string body =
          R"({"model":"m","messages":[{"role":"user","content":")" + first + "\"}" + more + "]}";
      return std::string(scene.client.post(scene.router.port(), "/v1/chat/completions", body)
                             .response.headers.find("x-dualmesh-instance"));
    };
    CHECK(turn("") == "e" + std::to_string(holder));
    silent = true;
    CHECK(turn(R"(,{"role":"assistant","content":"b"},{"role":"user","content":"c"})") ==
          "e" + std::to_string(holder));
    CHECK(scene.chosen().source == HitSource::degraded);
    CHECK(scene.chosen().hit_tokens >= 256);  // 320 less the seam
    CHECK(says(scene.metrics(), R"(dualmesh_kv_prompt_tokens_total{from="beginning"} 1)"));
  }
}

TEST_CASE("token ids are their own answer, and without events nobody is asked") {
  Engine engine;
  Scene scene({&engine});
  std::string ids;
  for (std::size_t i = 0; i < kTokens; ++i) ids += (i > 0 ? "," : "") + std::to_string(token(i));
  scene.client.post(scene.router.port(), "/v1/completions",
                    R"({"model":"m","prompt":[)" + ids + "]}");
  CHECK(scene.chosen().source == HitSource::exact);
  CHECK(scene.chosen().hit_tokens == 304);
  scene.router.flow.knowledge().publish(nullptr);
  scene.chat();
  CHECK(engine.asked == 0);
  CHECK(engine.completed == 2);
}

TEST_CASE("a request goes to the rank that says its prefix, unless the client names another") {
  Engine engine({}, 304);
  for (const std::size_t holder : {0, 2}) {
    Scene scene({&engine}, settings(), holder, 3);
    for (int i = 0; i < 3; ++i) {
      scene.chat();
      CHECK(engine.rank == static_cast<int>(holder));
      CHECK(scene.chosen().hit_tokens == 304);
    }
    net::HttpRequest named = post_request("/v1/chat/completions", chat_body("m", "hello", false));
    named.headers.set("X-data-parallel-rank", "1");
    CHECK(scene.client.call(scene.router.port(), named).response.status == 200);
    CHECK(engine.rank == 1);
    CHECK(scene.chosen().hit_tokens == 0);
    scene.chat();
    CHECK(engine.rank == static_cast<int>(holder));
    CHECK(eventually([&] { return scene.router.is_empty(); }));
    CHECK(scene.router.flow.knowledge().rank_load().size() == 0);
  }
  Scene same({&engine}, settings(), 0, 1);
  same.chat();
  CHECK(engine.rank == -1);
}
