#include "node/engine/engine_server.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>
#include <thread>

#include "node/engine/engine_request.h"
#include "node/replay/scrape.h"
#include "tests/node/engine_fixture.h"

namespace dualmesh::node {
namespace {

using nlohmann::json;

json chat(const std::string& text, int max_tokens) {
  return {{"model", "sim"},
          {"messages", {{{"role", "user"}, {"content", text}}}},
          {"max_tokens", max_tokens}};
}

json streamed(json body) {
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  return body;
}

// The data of each event; the last must be [DONE] where the API has it.
std::vector<json> events(const std::string& stream, bool with_done) {
  std::vector<json> out;
  bool done = false;
  std::istringstream lines(stream);
  for (std::string line; std::getline(lines, line);) {
    CHECK((!done || line.empty()));
    if (!line.starts_with("data: ")) continue;
    if (line == "data: [DONE]") {
      done = true;
    } else {
      out.push_back(json::parse(line.substr(6)));
    }
  }
  CHECK(done == with_done);
  return out;
}

std::size_t words(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

const std::string kLongText(1000, 'x');

TEST_CASE("a chat gets exactly the tokens asked for, and a second one hits the cache") {
  EngineFixture engine;
  const json first = engine.post("/v1/chat/completions", chat(kLongText, 9));
  const std::string text = first["choices"][0]["message"]["content"];
  CHECK(words(text) == 9);
  CHECK(first["object"] == "chat.completion");
  CHECK(first["choices"][0]["finish_reason"] == "length");
  CHECK(first["usage"]["completion_tokens"] == 9);
  const int prompt = first["usage"]["prompt_tokens"];
  CHECK(prompt >= 250);
  CHECK(prompt < 260);
  CHECK(first["usage"]["total_tokens"] == prompt + 9);
  CHECK(first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0);

  const json second = engine.post("/v1/chat/completions", chat(kLongText, 9));
  CHECK(second["choices"][0]["message"]["content"] == text);
  CHECK(second["id"] != first["id"]);
  CHECK(second["usage"]["prompt_tokens_details"]["cached_tokens"] == (prompt - 1) / 16 * 16);
  const json other = engine.post("/v1/chat/completions", chat("y" + kLongText, 9));
  CHECK(other["choices"][0]["message"]["content"] != text);
  CHECK(other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0);
}

TEST_CASE("lengths: defaults, and the newer names of the limit") {
  EngineFixture engine;
  json body = chat("a", 1);
  body.erase("max_tokens");
  const json by_default = engine.post("/v1/chat/completions", body);
  CHECK(by_default["usage"]["completion_tokens"] == 64);
  CHECK(by_default["choices"][0]["finish_reason"] == "stop");
  body["max_completion_tokens"] = 5;
  CHECK(engine.post("/v1/chat/completions", body)["usage"]["completion_tokens"] == 5);
  const json completion = {{"model", "sim"}, {"prompt", "a"}};
  CHECK(engine.post("/v1/completions", completion)["usage"]["completion_tokens"] == 16);
  const json responses = {{"model", "sim"}, {"input", "a"}, {"max_output_tokens", 4}};
  CHECK(engine.post("/v1/responses", responses)["usage"]["output_tokens"] == 4);
}

TEST_CASE("a streamed chat is the whole one in pieces, with usage last") {
  EngineFixture engine;
  const json whole = engine.post("/v1/chat/completions", chat("tell me", 12));
  const auto response =
      engine.send("POST", "/v1/chat/completions", streamed(chat("tell me", 12)).dump());
  CHECK(response.headers.find("content-type").starts_with("text/event-stream"));
  const auto all = events(response.body, true);
  REQUIRE(all.size() == 1 + 12 + 1 + 1);
  CHECK(all[0]["choices"][0]["delta"]["role"] == "assistant");
  std::string text;
  for (std::size_t i = 1; i <= 12; ++i) {
    text += all[i]["choices"][0]["delta"]["content"].get<std::string>();
    CHECK(all[i]["id"] == all[0]["id"]);
    CHECK(all[i]["object"] == "chat.completion.chunk");
  }
  CHECK(text == whole["choices"][0]["message"]["content"]);
  CHECK(all[13]["choices"][0]["finish_reason"] == "length");
  CHECK(all[14]["choices"].empty());
  CHECK(all[14]["usage"]["completion_tokens"] == 12);
}

TEST_CASE("events of several tokens carry the same text, the first token alone") {
  EngineFixture engine({.stream_interval = 4});
  json body = {{"model", "sim"}, {"prompt", "tell me"}, {"max_tokens", 10}};
  const std::string whole = engine.post("/v1/completions", body)["choices"][0]["text"];
  body["stream"] = true;
  const auto all = events(engine.send("POST", "/v1/completions", body.dump()).body, true);
  REQUIRE(all.size() == 5);  // 1 + 4 + 4 + 1 tokens, then the reason
  std::string text;
  for (const json& one : all) text += one["choices"][0]["text"].get<std::string>();
  CHECK(text == whole);
  CHECK(words(all[0]["choices"][0]["text"]) == 1);
  CHECK(all[4]["choices"][0]["finish_reason"] == "length");
}

TEST_CASE("a streamed response opens, delivers and closes its one text part") {
  EngineFixture engine;
  const json body = {
      {"model", "sim"}, {"input", "tell me"}, {"max_output_tokens", 3}, {"stream", true}};
  const auto all = events(engine.send("POST", "/v1/responses", body.dump()).body, false);
  std::vector<std::string> types;
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    types.push_back(all[i]["type"]);
    CHECK(all[i]["sequence_number"] == i);
    if (types.back() == "response.output_text.delta") text += all[i]["delta"].get<std::string>();
  }
  CHECK(types == std::vector<std::string>{
                     "response.created", "response.in_progress", "response.output_item.added",
                     "response.content_part.added", "response.output_text.delta",
                     "response.output_text.delta", "response.output_text.delta",
                     "response.output_text.done", "response.content_part.done",
                     "response.output_item.done", "response.completed"});
  CHECK(all[7]["text"] == text);
  CHECK(all.back()["response"]["output"][0]["content"][0]["text"] == text);
  CHECK(all.back()["response"]["usage"]["output_tokens"] == 3);
}

TEST_CASE("embeddings are unit vectors, one per input, in both encodings") {
  EngineFixture engine;
  json body = {{"model", "sim"}, {"input", {"one", "two", "one"}}, {"dimensions", 7}};
  const json floats = engine.post("/v1/embeddings", body);
  REQUIRE(floats["data"].size() == 3);
  double squares = 0;
  for (double value : floats["data"][0]["embedding"]) squares += value * value;
  CHECK(squares == doctest::Approx(1.0));
  CHECK(floats["data"][0]["embedding"] == floats["data"][2]["embedding"]);
  CHECK(floats["data"][0]["embedding"] != floats["data"][1]["embedding"]);
  body["encoding_format"] = "base64";
  const std::string encoded = engine.post("/v1/embeddings", body)["data"][0]["embedding"];
  CHECK(encoded.size() == (7 * 4 + 2) / 3 * 4);
  CHECK(encoded.substr(encoded.size() - 2) == "==");
  // The first float, decoded by hand from the first six characters.
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::uint64_t bits = 0;
  for (int i = 0; i < 6; ++i) bits = bits << 6 | digits.find(encoded[static_cast<std::size_t>(i)]);
  const auto big_endian = static_cast<std::uint32_t>(bits >> 4);
  const std::uint32_t word = __builtin_bswap32(big_endian);
  float value = 0;
  std::memcpy(&value, &word, 4);
  CHECK(value == doctest::Approx(floats["data"][0]["embedding"][0].get<float>()));
  const json tokens = {{"model", "sim"}, {"input", {1, 2, 3}}};
  CHECK(engine.post("/v1/embeddings", tokens)["data"].size() == 1);
}

TEST_CASE("what cannot be served is refused in OpenAI's shape") {
  EngineFixture engine({.max_model_len = 1000});
  struct Case {
    const char* target;
    json body;
    int status;
    const char* code;
  };
  const json two = {{"model", "sim"}, {"prompt", "a"}, {"n", 2}};
  const Case cases[] = {
      {"/v1/chat/completions",
       {{"model", "other"}, {"messages", chat("a", 1)["messages"]}},
       404,
       "model_not_found"},
      {"/v1/completions",
       {{"model", "sim"}, {"prompt", "a"}, {"max_tokens", 1000}},
       400,
       "context_length_exceeded"},
      {"/v1/completions",
       {{"model", "sim"}, {"prompt", std::string(4001, 'x')}},
       400,
       "context_length_exceeded"},
      {"/v1/completions", two, 400, ""},
      {"/v1/embeddings", {{"model", "sim"}, {"input", "a"}, {"dimensions", 0}}, 400, ""},
      {"/v1/embeddings", {{"model", "sim"}, {"input", "a"}, {"encoding_format", "x"}}, 400, ""},
      {"/tokenize", json::object(), 400, ""},
      {"/v1/nothing", json::object(), 404, ""},
  };
  for (const Case& one : cases) {
    CAPTURE(one.target);
    CAPTURE(one.body.dump());
    const auto response = engine.send("POST", one.target, one.body.dump());
    CHECK(response.status == one.status);
    const json error = json::parse(response.body)["error"];
    CHECK(error["message"].is_string());
    CHECK(error["type"].is_string());
    if (*one.code != '\0') CHECK(error["code"] == one.code);
  }
  CHECK(engine.send("POST", "/v1/completions", "{\"mod").status == 400);
  CHECK(engine.send("GET", "/v1/completions").status == 405);
  CHECK(engine.server().snapshot().counters.admitted == 0);
}

TEST_CASE("tokenize counts as generation does") {
  EngineFixture engine;
  const json asked = chat("how many tokens are these?", 1);
  const json usage = engine.post("/v1/chat/completions", asked)["usage"];
  const json counted = engine.post("/tokenize", {{"messages", asked["messages"]}});
  CHECK(counted["count"] == usage["prompt_tokens"]);
  CHECK(counted["tokens"].size() == counted["count"].get<std::size_t>());
  CHECK(counted["max_model_len"] == 131072);
  CHECK(engine.post("/tokenize", {{"prompt", "12345678"}})["count"] == 2);
}

TEST_CASE("models have caches of their own and are listed") {
  EngineFixture engine({.models = {"base", "adapter"}});
  const json listed = json::parse(engine.send("GET", "/v1/models").body);
  REQUIRE(listed["data"].size() == 2);
  CHECK(listed["data"][1]["id"] == "adapter");
  CHECK(listed["data"][1]["parent"] == "base");
  CHECK(listed["data"][0]["owned_by"] == "vllm");
  json body = chat(kLongText, 1);
  body["model"] = "base";
  engine.post("/v1/chat/completions", body);
  body["model"] = "adapter";
  const json usage = engine.post("/v1/chat/completions", body)["usage"];
  CHECK(usage["prompt_tokens_details"]["cached_tokens"] == 0);
  CHECK(engine.send("GET", "/health").status == 200);
}

TEST_CASE("requests that have no room side by side are preempted, answered and counted") {
  EngineServerOptions options{.max_model_len = 640};
  options.parameters.cache_tokens = 640;  // 40 blocks, one request needs more than half of them
  EngineFixture engine(options, 20.0);  // an answer alone takes 0.6 s, so they overlap
  std::vector<std::future<net::HttpResponse>> answers;
  for (const char* text : {"a", "b", "c"}) {
    answers.push_back(std::async(std::launch::async, [&engine, text] {
      return engine.send("POST", "/v1/chat/completions", chat(text, 500).dump());
    }));
  }
  for (auto& answer : answers) {
    const net::HttpResponse response = answer.get();
    REQUIRE(response.status == 200);
    CHECK(json::parse(response.body)["usage"]["completion_tokens"] == 500);
  }
  const EngineSample sample = parse_engine_metrics(engine.send("GET", "/metrics").body);
  CHECK(sample.preemptions == engine.server().snapshot().counters.preemptions);
  CHECK(sample.preemptions > 0);
  CHECK(sample.generated_tokens == 1500);
}

TEST_CASE("metrics tell what happened") {
  EngineFixture engine({.name = "e7"});
  const json usage = engine.post("/v1/chat/completions", chat(kLongText, 3))["usage"];
  engine.post("/v1/chat/completions", chat(kLongText, 3));
  const double prompt = usage["prompt_tokens"];
  const EngineSample sample = parse_engine_metrics(engine.send("GET", "/metrics").body);
  CHECK(sample.name == "e7");
  CHECK(sample.prefix_queries == 2 * prompt);
  CHECK(sample.prompt_tokens == 2 * prompt);
  CHECK(sample.prefill_computed == 2 * prompt - sample.prefix_hits);
  CHECK(sample.prefix_hits > 0);
  CHECK(sample.generated_tokens == 6);
  CHECK(sample.running == 0);
  CHECK(sample.waiting == 0);
  CHECK(sample.ttft_s.at(INFINITY) == 2);
  CHECK(sample.iterations == 6);
  CHECK(sample.lateness_s.at(INFINITY) == 6);
  // The first has a prefill longer than the minimum iteration; five last 25 ms and what decoding
  // adds, at a hundredth.
  CHECK(sample.iteration_s ==
        doctest::Approx((std::max(0.025, prompt * 160e-6) + 5 * 0.025 + 4 * 0.0003) / 100));
}

TEST_CASE("a client that goes away takes its request out of the model") {
  EngineFixture engine({}, 1.0);
  std::promise<void> first_token;
  std::shared_ptr<net::ClientCall> call;
  engine.thread().post([&] {
    net::ClientHandler handler;
    handler.on_body = [&, seen = false](std::string_view) mutable {
      if (!std::exchange(seen, true)) first_token.set_value();
    };
    call = engine.client().send(engine.address(),
                                EngineFixture::request("POST", "/v1/chat/completions",
                                                       streamed(chat(kLongText, 100'000)).dump()),
                                {}, std::move(handler));
  });
  first_token.get_future().get();
  CHECK(engine.server().snapshot().running == 1);
  engine.thread().post([&] { call->cancel(); });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (engine.server().snapshot().running > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  const EngineSnapshot snapshot = engine.server().snapshot();
  CHECK(snapshot.running == 0);
  CHECK(snapshot.counters.cancelled == 1);
  CHECK(snapshot.blocks_in_use == 0);
  CHECK(snapshot.blocks_cached > 0);
}

TEST_CASE("bodies that are nested without end are refused before a tree is built of them") {
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  CHECK(tokenize_request(R"({"prompt":"x","y":)" + deep + "}", "m").has_error());
  CHECK(read_engine_fields(net::Endpoint::embeddings, R"({"input":)" + deep + "}").has_error());
  CHECK(tokenize_request(R"({"prompt":"[[[\"[["})", "m").has_value());
}

}  // namespace
}  // namespace dualmesh::node
