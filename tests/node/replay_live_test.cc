#include <doctest/doctest.h>

#include "node/replay/load_generator.h"
#include "node/replay/report.h"
#include "tests/node/engine_fixture.h"

namespace dualmesh::node {
namespace {

Workload burst(std::size_t requests) {
  Workload workload;
  for (std::size_t i = 0; i < requests; ++i) {
    workload.requests.push_back({.arrival = std::chrono::milliseconds(20 * i),
                                 .input_tokens = 600,
                                 .output_tokens = 5,
                                 .blocks = {1, 10 + i % 3}});
  }
  return workload;
}

std::vector<RequestResult> run(net::IoThread& thread, const Workload& workload,
                               LoadOptions options) {
  options.speed = 100.0;
  LoadGenerator generator(thread, workload, std::move(options));
  std::promise<void> done;
  generator.start({.done = [&] { done.set_value(); }});
  done.get_future().get();
  return generator.results();
}

// A port on which nothing listens.
std::string refused_address() {
  net::IoThreads threads(1);
  net::HttpServer server(threads, {}, [](std::shared_ptr<net::Exchange>) {});
  auto port = server.listen("127.0.0.1", 0);
  REQUIRE(port.has_value());
  return "127.0.0.1:" + std::to_string(*port);
}

TEST_CASE("every request ends once, with what the instance says of it") {
  EngineFixture engine;
  const auto results =
      run(engine.thread(), burst(30), {.targets = {engine.address()}, .warmup = 3});
  REQUIRE(results.size() == 30);
  std::uint64_t prompt = 0;
  std::uint64_t cached = 0;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const RequestResult& result = results[i];
    CHECK(result.outcome == Outcome::completed);
    CHECK(result.counted == (i >= 3));
    CHECK(result.completion_tokens == 5);
    CHECK(result.prompt_tokens >= 600);
    CHECK(result.prompt_tokens < 610);
    CHECK(result.ttft_s > 0);
    CHECK(result.e2e_s >= result.ttft_s);
    prompt += result.prompt_tokens;
    cached += result.cached_tokens;
  }
  const EngineCounters counters = engine.server().snapshot().counters;
  CHECK(counters.prompt_tokens == prompt);
  CHECK(counters.cached_tokens == cached);
  // Three prompts that differ in their last block; the first block alone is shared by all.
  CHECK(cached >= 27 * 592);
}

TEST_CASE("an address that refuses connections is passed over and counted, not failed") {
  EngineFixture engine;
  const auto results =
      run(engine.thread(), burst(10), {.targets = {refused_address(), engine.address()}});
  std::uint32_t retries = 0;
  for (const RequestResult& result : results) {
    CHECK(result.outcome == Outcome::completed);
    retries += result.connect_retries;
  }
  CHECK(retries > 0);
}

TEST_CASE("with nobody listening every request has failed") {
  EngineFixture engine;
  const auto results = run(engine.thread(), burst(4), {.targets = {refused_address()}});
  for (const RequestResult& result : results) {
    CHECK(result.outcome == Outcome::failed);
    CHECK(result.reason == "connect");
    CHECK(std::isinf(result.ttft_s));
  }
}

TEST_CASE("refusals are told apart from failures, by their reason") {
  net::IoThreads threads(1);
  net::HttpServer server(threads, {}, [count = 0](std::shared_ptr<net::Exchange> exchange) mutable {
    net::HttpResponse response{.status = count++ % 2 == 0 ? 503 : 500};
    response.headers.set("x-dualmesh-node", "n1");
    response.body = R"({"error":{"message":"no room","type":"x","code":"overloaded"}})";
    exchange->respond(std::move(response));
  });
  const auto port = server.listen("127.0.0.1", 0);
  REQUIRE(port.has_value());
  const auto results =
      run(threads.at(0), burst(6), {.targets = {"127.0.0.1:" + std::to_string(*port)}});
  std::size_t rejected = 0;
  for (const RequestResult& result : results) {
    const bool busy = result.outcome == Outcome::rejected;
    rejected += busy ? 1 : 0;
    CHECK(result.reason == (busy ? "HTTP 503 overloaded" : "HTTP 500 overloaded"));
    CHECK(result.node == "n1");
    CHECK(std::isinf(result.ttft_s));
  }
  CHECK(rejected == 3);
  threads.stop();
}

TEST_CASE("stopping ends what is in flight and sends no more") {
  EngineFixture engine({}, 1.0);
  Workload workload = burst(2);
  workload.requests[0].output_tokens = 100'000;
  workload.requests[1].arrival = std::chrono::hours(1);
  LoadGenerator generator(engine.thread(), workload, {.targets = {engine.address()}});
  std::promise<void> sending;
  std::promise<void> done;
  generator.start({.measuring = [&] { sending.set_value(); }, .done = [&] { done.set_value(); }});
  sending.get_future().get();
  generator.stop();
  done.get_future().get();
  REQUIRE(generator.results().size() == 1);
  CHECK(generator.results()[0].outcome == Outcome::failed);
  CHECK(generator.results()[0].reason == "interrupted");
  CHECK(generator.progress().in_flight == 0);
}

TEST_CASE("a name is resolved") {
  EngineFixture engine;
  const std::string port = engine.address().substr(engine.address().rfind(':') + 1);
  const auto results =
      run(engine.thread(), burst(5),
          {.dns_host = "localhost", .dns_port = static_cast<std::uint16_t>(std::stoi(port))});
  for (const RequestResult& result : results) CHECK(result.outcome == Outcome::completed);
}

}  // namespace
}  // namespace dualmesh::node
