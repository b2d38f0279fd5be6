#include "node/metrics/metrics_text.h"

#include <doctest/doctest.h>

#include <array>
#include <limits>

namespace dualmesh::node {
namespace {

TEST_CASE("metrics: a family is its help, its type and its samples") {
  MetricsText out;
  out.family("dualmesh_requests_total", MetricType::counter, "Requests, by outcome.");
  out.sample({{"outcome", "finished"}}, 12);
  out.sample({{"outcome", "failed"}, {"why", "timeout"}}, 0.5);
  out.gauge("dualmesh_ready", "1 when ready.", 1);
  CHECK(out.take() ==
        "# HELP dualmesh_requests_total Requests, by outcome.\n"
        "# TYPE dualmesh_requests_total counter\n"
        "dualmesh_requests_total{outcome=\"finished\"} 12\n"
        "dualmesh_requests_total{outcome=\"failed\",why=\"timeout\"} 0.5\n"
        "# HELP dualmesh_ready 1 when ready.\n"
        "# TYPE dualmesh_ready gauge\n"
        "dualmesh_ready 1\n");
}

TEST_CASE("metrics: labels and helps are escaped as the format says") {
  CHECK(escaped_label("a\\b \"c\"\nd") == "a\\\\b \\\"c\\\"\\nd");
  MetricsText out;
  out.family("x", MetricType::gauge, "two\nlines, a \\ and \"quotes\"");
  out.sample({{"instance", "e\"1\"\n} 7"}}, 1);
  CHECK(out.take() ==
        "# HELP x two\\nlines, a \\\\ and \"quotes\"\n"
        "# TYPE x gauge\n"
        "x{instance=\"e\\\"1\\\"\\n} 7\"} 1\n");
}

TEST_CASE("metrics: a histogram counts from below, up to everything") {
  MetricsText out;
  const std::array<MetricsText::Bucket, 2> buckets = {{{0.5, 3}, {1.0, 0}}};
  out.histogram("x_seconds", "Time.", buckets, 2, 9.25);
  CHECK(out.take() ==
        "# HELP x_seconds Time.\n# TYPE x_seconds histogram\n"
        "x_seconds_bucket{le=\"0.5\"} 3\n"
        "x_seconds_bucket{le=\"1\"} 3\n"
        "x_seconds_bucket{le=\"+Inf\"} 5\n"
        "x_seconds_sum 9.25\n"
        "x_seconds_count 5\n");
}

TEST_CASE("metrics: a summary has its quantiles, sum and count in one family") {
  MetricsText out;
  out.family("ack_seconds", MetricType::summary, "Time.");
  out.summary({{"peer", "r2"}}, {.p50 = 0.25, .p99 = 0.5, .sum = 3.0, .count = 10});
  CHECK(out.take() ==
        "# HELP ack_seconds Time.\n# TYPE ack_seconds summary\n"
        "ack_seconds{peer=\"r2\",quantile=\"0.5\"} 0.25\n"
        "ack_seconds{peer=\"r2\",quantile=\"0.99\"} 0.5\n"
        "ack_seconds_sum{peer=\"r2\"} 3\n"
        "ack_seconds_count{peer=\"r2\"} 10\n");
}

TEST_CASE("metrics: numbers that are none are written as Prometheus spells them") {
  MetricsText out;
  out.gauge("a", "", std::numeric_limits<double>::quiet_NaN());
  out.gauge("b", "", -std::numeric_limits<double>::infinity());
  const std::string text = out.take();
  CHECK(text.find("\na NaN\n") != std::string::npos);
  CHECK(text.find("\nb -Inf\n") != std::string::npos);
}

}  // namespace
}  // namespace dualmesh::node
