#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "node/replay/report.h"
#include "node/replay/statistics.h"

namespace dualmesh::node {
namespace {

TEST_CASE("percentiles by nearest rank") {
  const std::vector<double> ten{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  CHECK(percentile(ten, 50) == 5);
  CHECK(percentile(ten, 90) == 9);
  CHECK(percentile(ten, 91) == 10);
  CHECK(percentile(ten, 99) == 10);
  CHECK(percentile(ten, 100) == 10);
  CHECK(percentile(ten, 0) == 1);
  CHECK(percentile(std::vector<double>{4}, 50) == 4);
  CHECK(std::isnan(percentile({}, 50)));
  CHECK(percentile(std::vector<double>{1, INFINITY}, 50) == 1);
  CHECK(std::isinf(percentile(std::vector<double>{1, INFINITY}, 51)));
}

TEST_CASE("spread of load") {
  CHECK(coefficient_of_variation(std::vector<double>{5, 5, 5}) == 0);
  // Mean 5, squared deviations 9 1 1 1 0 0 4 16 = 32, over 8: standard deviation 2.
  CHECK(coefficient_of_variation(std::vector<double>{2, 4, 4, 4, 5, 5, 7, 9}) ==
        doctest::Approx(0.4));
  CHECK(std::isnan(coefficient_of_variation(std::vector<double>{0, 0})));
}

TEST_CASE("quantiles of a histogram") {
  const Buckets buckets{{1.0, 10.0}, {2.0, 30.0}, {4.0, 40.0}, {INFINITY, 50.0}};
  CHECK(histogram_quantile(buckets, 0.1) == doctest::Approx(0.5));
  CHECK(histogram_quantile(buckets, 0.4) == doctest::Approx(1.5));
  CHECK(histogram_quantile(buckets, 0.8) == doctest::Approx(4.0));
  CHECK(histogram_quantile(buckets, 0.99) == 4.0);
  CHECK(std::isnan(histogram_quantile({{1.0, 0.0}, {INFINITY, 0.0}}, 0.5)));
  const Buckets later{{1.0, 10.0}, {2.0, 31.0}, {4.0, 41.0}, {INFINITY, 51.0}};
  CHECK(histogram_quantile(subtract(later, buckets), 0.5) == doctest::Approx(1.5));
}

constexpr const char* kMetrics = R"(# HELP vllm:prompt_tokens_total tokens
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a} \"b"} 100
vllm:prompt_tokens_total{engine="1",model_name="a"} 50
vllm:prefix_cache_queries_total{engine="0"} 150
vllm:prefix_cache_hits_total{engine="0"} 6.0e1
vllm:num_requests_waiting{engine="0"} 3
vllm:num_preemptions_total{engine="0"} 2
vllm:num_preemptions_total{engine="1"} 5
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.5"} 2
vllm:time_to_first_token_seconds_bucket{engine="1",le="0.5"} 3
vllm:time_to_first_token_seconds_bucket{le="+Inf",engine="0"} 9
dualmesh_engine_info{name="e1",version="x"} 1
garbage
broken{le="
)";

TEST_CASE("metrics are summed over ranks, and absent is not zero") {
  const EngineSample sample = parse_engine_metrics(kMetrics);
  CHECK(sample.name == "e1");
  CHECK(sample.prompt_tokens == 150);
  CHECK(sample.prefix_hits == 60);
  CHECK(sample.waiting == 3);
  CHECK(sample.preemptions == 7);
  EngineSample earlier = sample;
  earlier.preemptions = 4;
  CHECK(difference(sample, earlier).preemptions == 3);
  CHECK(sample.ttft_s == Buckets{{0.5, 5.0}, {INFINITY, 9.0}});
  // Without a series of its own, what was not hit was computed.
  CHECK(sample.prefill_computed == 90);
  CHECK(std::isnan(sample.generated_tokens));
  CHECK(std::isnan(lateness_ratio_p99(sample)));
}

RequestResult completed(double arrival_s, double ttft_s, std::uint32_t prompt,
                        std::uint32_t cached) {
  RequestResult result;
  result.outcome = Outcome::completed;
  result.arrival_s = arrival_s;
  result.ttft_s = ttft_s;
  result.e2e_s = ttft_s + 1;
  result.prompt_tokens = prompt;
  result.cached_tokens = cached;
  result.completion_tokens = 10;
  result.node = "n1";
  result.instance = "e1";
  return result;
}

ReplayOutcome sample_outcome() {
  ReplayOutcome outcome;
  outcome.planned = 6;
  outcome.results = {completed(0, 1, 999, 0),   completed(1, 1, 100, 0), completed(2, 2, 100, 80),
                     completed(6, 7, 200, 100), RequestResult{},         RequestResult{}};
  outcome.results[0].counted = false;
  outcome.results[4].arrival_s = 7;
  outcome.results[4].reason = "connection refused";
  outcome.results[5].arrival_s = 9;
  outcome.results[5].outcome = Outcome::rejected;
  outcome.results[5].reason = "HTTP 503";
  EngineSample engine = parse_engine_metrics(kMetrics);
  engine.prefill_computed = 30;
  outcome.engines["h:1"] = engine;
  engine.name = "e2";
  engine.prefill_computed = 10;
  engine.lateness_s = {{0.001, 98.0}, {0.01, 100.0}, {INFINITY, 100.0}};
  engine.iteration_s = 5.0;
  engine.iterations = 100;
  outcome.engines["h:2"] = engine;
  return outcome;
}

TEST_CASE("a request that failed stays in every denominator, infinitely late") {
  const nlohmann::json report = make_report(sample_outcome(), {});
  CHECK(report["requests"] == 5);
  CHECK(report["warmup"] == 1);
  CHECK(report["completed"] == 3);
  CHECK(report["failed"] == 1);
  CHECK(report["rejected"] == 1);
  CHECK(report["slo_attainment"] == doctest::Approx(2.0 / 5));
  CHECK(report["ttft_p50"] == 7.0);
  CHECK(report["ttft_p90"].is_null());
  CHECK(report["ttft_mean"] == doctest::Approx(10.0 / 3));
  // From the first counted arrival at 1 s to the last end at 6 + 7 + 1 s.
  CHECK(report["goodput_qps"] == doctest::Approx(2.0 / 13));
  CHECK(report["qps"] == doctest::Approx(4.0 / 8));
  CHECK(report["hit_ratio_usage"] == doctest::Approx(180.0 / 400));
  CHECK(report["reasons"]["connection refused"] == 1);
  CHECK(report["per_node"]["n1"]["requests"] == 3);
  CHECK(report["time_series"].size() == 2);
  CHECK(report["time_series"][1]["failures"] == 2);
}

TEST_CASE("what the instances measured, and that late timers void it") {
  nlohmann::json report = make_report(sample_outcome(), {});
  CHECK(report["hit_ratio"] == doctest::Approx(0.4));
  CHECK(report["prefill_tokens_computed"] == 40.0);
  CHECK(report["load_cv"] == doctest::Approx(0.5));
  CHECK(report["per_instance"]["e1"]["requests"] == 3);
  CHECK(report["per_instance"]["e2"]["address"] == "h:2");
  // p99 lies in the middle of 1 to 10 ms: 5.5 ms of a mean iteration of 50 ms.
  CHECK(report["timer_lateness_ratio_p99"] == doctest::Approx(0.11));
  CHECK(report["void"] == true);
  CHECK(format_report(report).find("VOID") != std::string::npos);
  ReplayOutcome unscraped = sample_outcome();
  unscraped.engines.clear();
  report = make_report(unscraped, {});
  CHECK(report["hit_ratio"].is_null());
  CHECK(report["void"] == false);
}

TEST_CASE("tables keep to 100 columns") {
  ReplayOutcome outcome = sample_outcome();
  outcome.results[1].node = std::string(60, 'x');
  outcome.results[4].reason = std::string(200, 'y');
  std::istringstream text(format_report(make_report(outcome, {})));
  std::size_t lines = 0;
  for (std::string line; std::getline(text, line); ++lines) CHECK(line.size() <= 100);
  CHECK(lines > 15);
}

TEST_CASE("times have their unit, and no line ends in blanks") {
  const std::string text = format_report(make_report(sample_outcome(), {}));
  for (const char* label : {"\nTTFT (s) ", "\nE2E (s) ", " ITL (s) "}) {
    CHECK(text.find(label) != std::string::npos);
  }
  CHECK(text.find(" \n") == std::string::npos);
}

TEST_CASE("an interrupted run without any counted request still reports") {
  ReplayOutcome outcome;
  outcome.planned = 10;
  outcome.interrupted = true;
  const auto report = make_report(outcome, {});
  CHECK(report["slo_attainment"].is_null());
  CHECK(format_report(report).find("INTERRUPTED: 0 of 10") != std::string::npos);
}

TEST_CASE("when every request has failed, the rates are zero, none is -0, and it is no success") {
  ReplayOutcome outcome = sample_outcome();
  CHECK(exit_status(make_report(outcome, {})) == 3);
  outcome.engines.clear();
  CHECK(exit_status(make_report(outcome, {})) == 0);
  outcome.interrupted = true;
  CHECK(exit_status(make_report(outcome, {})) == 130);
  outcome.interrupted = false;
  outcome.results = {RequestResult{}, RequestResult{}};
  outcome.results[1].arrival_s = 1;
  const auto report = make_report(outcome, {});
  CHECK(report["goodput_qps"] == 0.0);
  CHECK(report["output_tokens_per_s"] == 0.0);
  CHECK(report["duration_s"].is_null());
  CHECK(format_report(report).find("-0") == std::string::npos);
  CHECK(exit_status(report) == 1);
}

TEST_CASE("the result file is whole or absent") {
  const auto folder =
      std::filesystem::temp_directory_path() / ("dualmesh-report-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string path = (folder / "out.json").string();
  REQUIRE(write_atomically(path, "one").has_value());
  REQUIRE(write_atomically(path, "two").has_value());
  std::ifstream file(path);
  std::string text;
  file >> text;
  CHECK(text == "two");
  CHECK(std::distance(std::filesystem::directory_iterator(folder), {}) == 1);
  CHECK(write_atomically((folder / "none" / "out.json").string(), "x").has_error());
  std::filesystem::remove_all(folder);
}

TEST_CASE("a result goes where a link leads, and into a device without replacing it") {
  namespace fs = std::filesystem;
  const auto folder =
      fs::temp_directory_path() / ("dualmesh-report-links-" + std::to_string(getpid()));
  fs::create_directories(folder);
  REQUIRE(write_atomically((folder / "out.json").string(), "one").has_value());
  fs::create_symlink("out.json", folder / "link");
  fs::create_symlink("/dev/null", folder / "device");
  fs::create_symlink("nowhere", folder / "lost");
  REQUIRE(write_atomically((folder / "link").string(), "two").has_value());
  std::string text;
  std::ifstream(folder / "out.json") >> text;
  CHECK(text == "two");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(write_atomically((folder / "device").string(), "three").has_value());
  CHECK(fs::is_symlink(folder / "device"));
  CHECK(fs::is_character_file("/dev/null"));
  CHECK(write_atomically((folder / "lost").string(), "four").has_error());
  CHECK(fs::is_symlink(folder / "lost"));
  CHECK(write_atomically((folder / std::string(300, 'x')).string(), "five").has_error());
  fs::remove_all(folder);
}

}  // namespace
}  // namespace dualmesh::node
