// MetricsText: writes metrics as Prometheus reads them (text exposition format 0.0.4).
//
// A family is begun once, with its help, and its samples follow. A counter is named `_total`, and
// nothing else is. What a label or a help holds is escaped, so no node or instance can break the
// text by its name.
//
// Invariant: the text of one writer is valid. A name that breaks the rules above, one that is begun
// twice and a sample without a family are bugs of the caller and abort. Threads: none.
// Source: prometheus.io/docs/instrumenting/exposition_formats.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace dualmesh::node {

enum class MetricType { counter, gauge, histogram, summary };

class MetricsText {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  void family(std::string_view name, MetricType type, std::string_view help);
  void sample(Labels labels, double value);  // of the counter or gauge begun last
  // A family with one sample and no labels.
  void counter(std::string_view name, std::string_view help, double value);
  void gauge(std::string_view name, std::string_view help, double value);

  struct Bucket {
    double upper = 0.0;
    std::uint64_t count = 0;  // of this bucket alone
  };
  // A family with one histogram; `beyond`: values above the last bucket.
  void histogram(std::string_view name, std::string_view help, std::span<const Bucket> buckets,
                 std::uint64_t beyond, double sum);

  struct Summary {
    double p50 = 0.0;
    double p99 = 0.0;
    double sum = 0.0;
    std::uint64_t count = 0;
  };
  void summary(Labels labels, const Summary& values);  // of the summary begun last

  std::string take();  // the text; the writer is empty again

 private:
  void write(std::string_view suffix, Labels labels, std::string_view more_label,
             std::string_view more_value, double value);

  std::string text_;
  std::string name_;  // of the family begun last
  MetricType type_ = MetricType::gauge;
  std::set<std::string, std::less<>> names_;
};

std::string escaped_label(std::string_view text);

}  // namespace dualmesh::node
