// Events, tokens and caches of an engine as its clients see them.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/node/engine_event_reader.h"
#include "tests/node/engine_fixture.h"

namespace dualmesh::node {
namespace {

using nlohmann::json;

struct Engine {
  explicit Engine(EngineServerOptions options = {}, KvFormat format = KvFormat::vllm)
      : publisher(1) {
    for (std::uint32_t rank = 0; rank < options.ranks.ranks; ++rank) {
      const auto bound = publisher.add({.events = "tcp://127.0.0.1:0",
                                        .replay = "tcp://127.0.0.1:0",
                                        .encoding = {format},
                                        .replay_frames = is_sglang(format) ? 2u : 3u,
                                        .rank = rank});
      REQUIRE(bound.has_value());
      replay.push_back(bound->replay);
    }
    publisher.start();
    options.as_sglang = options.ranks.clears_first = is_sglang(format);
    options.ranks.publisher = &publisher;
    http = std::make_unique<EngineFixture>(std::move(options));
  }
  json events(std::size_t rank = 0) { return replayed_events(replay[rank]); }
  std::uint32_t cached(const json& body, const std::string& path = "/v1/chat/completions") {
    return http->post(path, body)["usage"]["prompt_tokens_details"]["cached_tokens"];
  }

  EventPublisher publisher;
  std::vector<std::string> replay;
  std::unique_ptr<EngineFixture> http;
};

const std::string kLong(1000, 'x');

json chat(const std::string& text) {
  return {
      {"model", "sim"}, {"messages", {{{"role", "user"}, {"content", text}}}}, {"max_tokens", 1}};
}

// The tokens of every stored block, in order.
std::vector<std::uint32_t> stored_tokens(const json& events) {
  std::vector<std::uint32_t> tokens;
  for (const json& event : events) {
    if (!event.contains("token_ids")) continue;
    for (const json& id : event["token_ids"]) tokens.push_back(id);
  }
  return tokens;
}

TEST_CASE("the tokens of stored blocks are those that /tokenize answers, whole blocks of them") {
  json with_tools = chat(kLong);
  with_tools["tools"] = json::array({{{"type", "function"}, {"function", {{"name", "f"}}}}});
  json parts = chat("");
  parts["messages"][0]["content"] = {{{"type", "text"}, {"text", kLong}},
                                     {{"type", "image_url"}, {"image_url", {{"url", "u"}}}}};
  for (json body : {chat(kLong), with_tools, parts}) {
    Engine engine;
    const std::uint32_t prompt =
        engine.http->post("/v1/chat/completions", body)["usage"]["prompt_tokens"];
    auto tokens = engine.http->post("/tokenize", body)["tokens"].get<std::vector<std::uint32_t>>();
    CHECK(tokens.size() == prompt);
    tokens.resize(prompt / 16 * 16);
    const json events = engine.events();
    CHECK(stored_tokens(events) == tokens);
    CHECK(events[0]["block_size"] == 16);
    CHECK(events[0]["block_hashes"].size() == prompt / 16);
    CHECK(engine.cached(body) == (prompt - 1) / 16 * 16);
    CHECK(engine.events().size() == events.size());  // hits say nothing
  }
}

TEST_CASE("a prompt of token ids caches under those ids, and meets text of the same tokens") {
  Engine engine;
  const json text = {{"model", "sim"}, {"prompt", kLong}, {"max_tokens", 1}};
  CHECK(engine.cached(text, "/v1/completions") == 0);
  json ids = text;
  ids["prompt"] = engine.http->post("/tokenize", text)["tokens"];
  CHECK(engine.cached(ids, "/v1/completions") == 240);
  CHECK(engine.http->post("/tokenize", ids)["tokens"] == ids["prompt"]);
}

TEST_CASE("adapters and salts have caches of their own, and events say which") {
  for (const KvFormat format : {KvFormat::vllm, KvFormat::sglang}) {
    Engine engine({.models = {"sim", "adapter"}}, format);
    json adapted = chat(kLong);
    adapted["model"] = "adapter";
    json salted = chat(kLong);
    salted["cache_salt"] = "s";
    for (const json& body : {chat(kLong), adapted, salted}) CHECK(engine.cached(body) == 0);
    for (const json& body : {chat(kLong), adapted, salted}) CHECK(engine.cached(body) > 0);
    json events = engine.events();
    if (is_sglang(format)) events.erase(0);
    REQUIRE(events.size() == 3);
    const auto hashes = [&](int i) { return events[static_cast<std::size_t>(i)]["block_hashes"]; };
    CHECK(hashes(0) != hashes(1));
    CHECK(hashes(0) != hashes(2));
    CHECK(events[0]["token_ids"] == events[1]["token_ids"]);
    CHECK(events[0].value("lora_name", json()).is_null());
    CHECK(events[1]["lora_name"] == "adapter");
    CHECK(events[2].value("lora_name", json()).is_null());
    if (is_sglang(format)) {
      CHECK(events[2]["cache_salt"] == "s");
    } else {
      CHECK(events[1]["extra_keys"][5] == json{"adapter"});
      CHECK(events[2]["extra_keys"][0] == json{"s"});
      CHECK(events[2]["extra_keys"][1].is_null());
    }
  }
  Engine engine;
  json wrong = chat("a");
  wrong["cache_salt"] = "";
  CHECK(engine.http->send("POST", "/v1/chat/completions", wrong.dump()).status == 400);
  wrong["cache_salt"] = 7;
  CHECK(engine.http->send("POST", "/v1/chat/completions", wrong.dump()).status == 400);
}

TEST_CASE("clearing the cache is said, and the next request finds nothing") {
  Engine vllm;
  vllm.cached(chat(kLong));
  CHECK(vllm.cached(chat(kLong)) > 0);
  CHECK(vllm.http->send("GET", "/reset_prefix_cache").status == 405);
  CHECK(vllm.http->send("POST", "/reset_prefix_cache").status == 200);
  CHECK(vllm.events().back() == json{{"type", "AllBlocksCleared"}});
  CHECK(vllm.cached(chat(kLong)) == 0);
  CHECK(vllm.http->send("POST", "/flush_cache").status == 404);

  Engine sglang({}, KvFormat::sglang);
  CHECK(sglang.events() == json::array({{{"type", "AllBlocksCleared"}}}));
  sglang.cached(chat(kLong));
  CHECK(sglang.http->send("GET", "/flush_cache").status == 200);
  CHECK(sglang.events().size() == 3);
  CHECK(sglang.cached(chat(kLong)) == 0);
}

TEST_CASE("each rank has a cache and a stream of its own; requests go where there is room") {
  Engine engine({.ranks = {.ranks = 3}});
  for (int i = 0; i < 3; ++i) CHECK(engine.cached(chat(kLong)) == 0);  // in turn
  for (std::size_t rank = 0; rank < 3; ++rank) {
    CHECK(engine.events(rank).size() == 1);
    const auto batch = decode_batch(replayed(engine.replay[rank], 0).at(0).back());
    CHECK(batch[2] == rank);
  }
  CHECK(engine.cached(chat(kLong)) > 0);
  const std::string metrics = engine.http->send("GET", "/metrics").body;
  for (const char* labels : {"engine=\"0\"", "engine=\"1\"", "engine=\"2\""}) {
    CHECK(metrics.find("vllm:num_requests_running{" + std::string(labels)) != std::string::npos);
  }
  CHECK(engine.http->server().snapshot().counters.finished == 4);
}

TEST_CASE("/tokenize in the forms of the engine it passes for, or not at all, or late") {
  const json messages = {{"model", "sim"}, {"messages", chat("hello")["messages"]}};
  const json prompt = {{"prompt", "hello"}};
  Engine vllm;
  CHECK(vllm.http->post("/tokenize", prompt).contains("token_strs"));
  CHECK(vllm.http->post("/tokenize", messages)["count"] > 1);
  CHECK(vllm.http->send("POST", "/v1/tokenize", prompt.dump()).status == 404);
  const json stranger = {{"model", "other"}, {"prompt", "a"}};
  CHECK(vllm.http->send("POST", "/tokenize", stranger.dump()).status == 404);
  Engine sglang({}, KvFormat::sglang);
  CHECK_FALSE(sglang.http->post("/v1/tokenize", prompt).contains("token_strs"));
  CHECK(sglang.http->send("POST", "/v1/tokenize", messages.dump()).status == 400);
  const json models = json::parse(sglang.http->send("GET", "/v1/models").body);
  CHECK(models["data"][0]["owned_by"] == "sglang");
  Engine none({.tokenizes = false});
  CHECK(none.http->send("POST", "/tokenize", prompt.dump()).status == 404);
  Engine late({.tokenize_delay = std::chrono::milliseconds(30)});
  const auto begin = std::chrono::steady_clock::now();
  CHECK(late.http->post("/tokenize", prompt)["count"] == 2);
  CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(30));
}

}  // namespace
}  // namespace dualmesh::node
