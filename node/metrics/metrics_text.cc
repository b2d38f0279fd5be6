#include "node/metrics/metrics_text.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "net/error.h"

namespace dualmesh::node {
namespace {

const char* to_string(MetricType type) {
  switch (type) {
    case MetricType::counter:
      return "counter";
    case MetricType::gauge:
      return "gauge";
    case MetricType::histogram:
      return "histogram";
    case MetricType::summary:
      return "summary";
  }
  return "untyped";
}

bool is_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](const char& c) {
    const bool letter = (c >= 'a' && c <= 'z') || c == '_' || c == ':';
    return letter || (c >= '0' && c <= '9' && &c != name.data());
  });
}

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || (quotes && c == '"')) out += '\\';
    out += c;
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

std::string escaped_label(std::string_view text) { return escaped(text, true); }

void MetricsText::family(std::string_view name, MetricType type, std::string_view help) {
  DUALMESH_CHECK(is_name(name), "name={}", name);
  DUALMESH_CHECK(name.ends_with("_total") == (type == MetricType::counter), "name={}", name);
  DUALMESH_CHECK(names_.emplace(name).second, "name={} again", name);
  name_ = name;
  type_ = type;
  fmt::format_to(std::back_inserter(text_), "# HELP {0} {1}\n# TYPE {0} {2}\n", name,
                 escaped(help, false), to_string(type));
}

void MetricsText::write(std::string_view suffix, Labels labels, std::string_view more_label,
                        std::string_view more_value, double value) {
  DUALMESH_CHECK(!name_.empty(), "value={} of no family", value);
  text_ += name_;
  text_ += suffix;
  char separator = '{';
  const auto label = [&](std::string_view name, std::string_view content) {
    fmt::format_to(std::back_inserter(text_), "{}{}=\"{}\"", separator, name,
                   escaped_label(content));
    separator = ',';
  };
  for (const auto& [name, content] : labels) label(name, content);
  if (!more_label.empty()) label(more_label, more_value);
  if (separator == ',') text_ += '}';
  text_ += ' ' + number(value) + '\n';
}

void MetricsText::sample(Labels labels, double value) {
  DUALMESH_CHECK(type_ == MetricType::counter || type_ == MetricType::gauge, "name={}", name_);
  write("", labels, "", "", value);
}

void MetricsText::counter(std::string_view name, std::string_view help, double value) {
  family(name, MetricType::counter, help);
  sample({}, value);
}

void MetricsText::gauge(std::string_view name, std::string_view help, double value) {
  family(name, MetricType::gauge, help);
  sample({}, value);
}

void MetricsText::histogram(std::string_view name, std::string_view help,
                            std::span<const Bucket> buckets, std::uint64_t beyond, double sum) {
  family(name, MetricType::histogram, help);
  std::uint64_t below = 0;
  for (const Bucket& bucket : buckets) {
    below += bucket.count;
    write("_bucket", {}, "le", number(bucket.upper), static_cast<double>(below));
  }
  below += beyond;
  write("_bucket", {}, "le", "+Inf", static_cast<double>(below));
  write("_sum", {}, "", "", sum);
  write("_count", {}, "", "", static_cast<double>(below));
}

void MetricsText::summary(Labels labels, const Summary& values) {
  DUALMESH_CHECK(type_ == MetricType::summary, "name={}", name_);
  write("", labels, "quantile", "0.5", values.p50);
  write("", labels, "quantile", "0.99", values.p99);
  write("_sum", labels, "", "", values.sum);
  write("_count", labels, "", "", static_cast<double>(values.count));
}

std::string MetricsText::take() {
  std::string text = std::move(text_);
  *this = MetricsText();
  return text;
}

}  // namespace dualmesh::node
