// What engines say of their load: read from their text, and asked for.
#include <doctest/doctest.h>

#include "node/router/instance_monitor.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

constexpr const char* kVllm = R"(# HELP vllm:num_requests_running Number of requests in batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a model, with } and \" in its name"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 1e+01
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0 1712345678000
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.9
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="1",num_gpu_blocks="1200"} 1.0
)";

constexpr const char* kSglang = R"(# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{dp_rank="0",model_name="m",tp_rank="0"} 2.0
sglang:num_running_reqs{dp_rank="0",model_name="m",tp_rank="1"} 2.0
sglang:num_running_reqs{dp_rank="1",model_name="m",tp_rank="0"} 5.0
sglang:num_queue_reqs{dp_rank="0",model_name="m",tp_rank="0"} 0.0
sglang:token_usage{dp_rank="0",model_name="m",tp_rank="0"} 0.5
)";

}  // namespace

TEST_CASE("vLLM's text: ranks added up, usage their mean, the newer name before the older") {
  const EngineMetrics read = read_engine_metrics(kVllm);
  CHECK(read.ranks == 2);
  CHECK(read.running == 7.0);
  CHECK(read.waiting == 10.0);
  CHECK(read.kv_usage == 0.5);
  CHECK(read.gpu_blocks == 2200);
  CHECK(read.block_tokens == 16);
  CHECK(read_engine_metrics("vllm:gpu_cache_usage_perc 0.9\r\n").kv_usage == 0.9);
}

TEST_CASE("SGLang's text: one process of those that compute a rank; both prefixes") {
  const EngineMetrics read = read_engine_metrics(kSglang);
  CHECK(read.running == 7.0);
  CHECK(read.waiting == 0.0);
  CHECK(read.kv_usage == 0.5);
  CHECK_FALSE(read.gpu_blocks);
  std::string other = kSglang;
  for (std::size_t at; (at = other.find("sglang:")) != std::string::npos;) other[at + 6] = '_';
  CHECK(read_engine_metrics(other) == read);
}

TEST_CASE("what is absent or absurd is unknown, never 0") {
  CHECK_FALSE(read_engine_metrics("").known());
  CHECK_FALSE(read_engine_metrics("# TYPE vllm:num_requests_running gauge\n").known());
  CHECK_FALSE(read_engine_metrics("process_open_fds 7\n<html>\n").known());
  for (const char* value : {"NaN", "+Inf", "-1", "", "x", "1x", "1e999"}) {
    CAPTURE(value);
    const std::string line = "vllm:num_requests_running{engine=\"0\"} " + std::string(value) + "\n";
    CHECK_FALSE(read_engine_metrics(line).known());
    // A sum in which one rank is missing would be too small.
    CHECK_FALSE(read_engine_metrics(line + "vllm:num_requests_running{engine=\"1\"} 1\n").known());
  }
  CHECK_FALSE(read_engine_metrics("sglang:token_usage 1.5\n").known());
  CHECK_FALSE(read_engine_metrics("vllm:num_requests_running{engine=\"0} 1\n").known());
  CHECK_FALSE(
      read_engine_metrics("vllm:cache_config_info{num_gpu_blocks=\"None\",block_size=\"0\"} 1\n")
          .known());
  CHECK(read_engine_metrics("vllm:num_requests_running 1").running == 1.0);
}

TEST_CASE("an instance is asked again and again, one without metrics seldom") {
  std::atomic<int> asked{0}, asked_without{0};
  std::atomic<bool> well{true};
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
    if (exchange->request().target == "/metrics") {
      ++asked;
      return answer_json(*exchange, well ? 200 : 500, kVllm);
    }
    answer_json(*exchange, 200, "");
  });
  FakeInstance without([&](std::shared_ptr<net::Exchange> exchange) {
    const bool metrics = exchange->request().target == "/metrics";
    if (metrics) ++asked_without;
    answer_json(*exchange, metrics ? 404 : 200, "");
  });
  net::IoThreads threads{1};
  {
    net::HttpClient client(threads.at(0), net::HttpClient::Limits{});
    EngineScraper scraper(threads.at(0), client,
                          {.interval = std::chrono::milliseconds(10),
                           .pause_without = std::chrono::milliseconds(100'000)});
    threads.at(0).post([&] {
      scraper.watch(0, one.address());
      scraper.watch(1, without.address());
    });
    CHECK(eventually([&] { return scraper.metrics(0).running == 7.0; }));
    CHECK(eventually([&] { return asked > 5; }));
    CHECK(asked_without == 1);
    CHECK_FALSE(scraper.metrics(1).known());
    CHECK_FALSE(scraper.metrics(7).known());
    well = false;
    CHECK(eventually([&] { return !scraper.metrics(0).known(); }));
    well = true;
    CHECK(eventually([&] { return scraper.metrics(0).known(); }));
    threads.at(0).post([&] { scraper.watch(0, without.address()); });  // moved
    CHECK(eventually([&] { return asked_without == 2 && !scraper.metrics(0).known(); }));
    threads.at(0).post([&] { scraper.forget(0); });
    threads.stop();
  }
}
