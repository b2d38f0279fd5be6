#include "node/router/engine_metrics_reader.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

namespace dualmesh::node {

namespace {

struct Name {
  std::string_view text;
  std::optional<double> EngineMetrics::*field;
};

// Of the names of one field that occurs first counts alone, if several are there.
constexpr Name kNames[] = {
    {"vllm:num_requests_running", &EngineMetrics::running},
    {"sglang:num_running_reqs", &EngineMetrics::running},
    {"sglang_num_running_reqs", &EngineMetrics::running},
    {"vllm:num_requests_waiting", &EngineMetrics::waiting},
    {"sglang:num_queue_reqs", &EngineMetrics::waiting},
    {"sglang_num_queue_reqs", &EngineMetrics::waiting},
    {"vllm:kv_cache_usage_perc", &EngineMetrics::kv_usage},
    {"vllm:gpu_cache_usage_perc", &EngineMetrics::kv_usage},
    {"sglang:token_usage", &EngineMetrics::kv_usage},
    {"sglang_token_usage", &EngineMetrics::kv_usage},
};
constexpr std::string_view kCacheInfo = "vllm:cache_config_info";

struct Sample {
  std::string_view name;
  std::string_view labels;  // between the braces
  std::string_view value;
};

std::string_view without_spaces(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

// Where the labels that begin `text` end: at a brace outside quotes.
std::size_t end_of_labels(std::string_view text) {
  bool quoted = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (quoted && text[at] == '\\') {
      ++at;
    } else if (text[at] == '"') {
      quoted = !quoted;
    } else if (!quoted && text[at] == '}') {
      return at;
    }
  }
  return std::string_view::npos;
}

std::optional<Sample> read_sample(std::string_view line) {
  if (line.empty() || line.front() == '#') return std::nullopt;
  const std::size_t name_end = line.find_first_of("{ \t");
  if (name_end == std::string_view::npos) return std::nullopt;
  Sample sample{line.substr(0, name_end), {}, {}};
  std::string_view rest = line.substr(name_end);
  if (rest.front() == '{') {
    rest.remove_prefix(1);
    const std::size_t end = end_of_labels(rest);
    if (end == std::string_view::npos) return std::nullopt;
    sample.labels = rest.substr(0, end);
    rest.remove_prefix(end + 1);
  }
  rest = without_spaces(rest);
  sample.value = rest.substr(0, rest.find_first_of(" \t\r"));  // a time stamp may follow
  return sample;
}

// The value of a label, still escaped; empty where it is absent.
std::string_view label(std::string_view labels, std::string_view wanted) {
  while (!labels.empty()) {
    const std::size_t equals = labels.find("=\"");
    if (equals == std::string_view::npos) return {};
    const std::string_view key = without_spaces(labels.substr(0, equals));
    labels.remove_prefix(equals + 2);
    std::size_t end = 0;
    while (end < labels.size() && labels[end] != '"') end += labels[end] == '\\' ? 2 : 1;
    if (end >= labels.size()) return {};
    if (key == wanted) return labels.substr(0, end);
    labels.remove_prefix(end + 1);
    labels = without_spaces(labels);
    if (labels.starts_with(',')) labels.remove_prefix(1);
  }
  return {};
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool of_first_process(std::string_view labels) {
  return std::ranges::all_of(std::initializer_list<std::string_view>{"tp_rank", "pp_rank"},
                             [labels](std::string_view key) {
                               const std::string_view rank = label(labels, key);
                               return rank.empty() || rank == "0";
                             });
}

// Adds the data-parallel rank of a sample to a set of bits.
void add_rank(std::string_view labels, std::uint64_t& ranks) {
  for (const std::string_view key : {"engine", "dp_rank"}) {
    const auto rank = number<std::uint32_t>(label(labels, key));
    if (rank && *rank < 64) ranks |= std::uint64_t{1} << *rank;
  }
}

struct Sum {
  double sum = 0.0;
  std::uint32_t count = 0;
  bool broken = false;  // a rank of which the value is not known
};

void read_cache_info(std::string_view labels, EngineMetrics& metrics) {
  if (const auto blocks = number<std::uint64_t>(label(labels, "num_gpu_blocks"))) {
    const std::uint64_t before = metrics.gpu_blocks.value_or(0);
    if (*blocks <= std::numeric_limits<std::uint64_t>::max() - before) {
      metrics.gpu_blocks = before + *blocks;
    }
  }
  const auto size = number<std::uint32_t>(label(labels, "block_size"));
  if (size && *size > 0) metrics.block_tokens = size;
}

}  // namespace

EngineMetrics read_engine_metrics(std::string_view text) {
  EngineMetrics metrics;
  Sum sums[std::size(kNames)];
  std::uint64_t ranks = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto sample = read_sample(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!sample) continue;
    if (sample->name == kCacheInfo) read_cache_info(sample->labels, metrics);
    const Name* const name = std::ranges::find(kNames, sample->name, &Name::text);
    if (name == std::end(kNames) || !of_first_process(sample->labels)) continue;
    add_rank(sample->labels, ranks);
    Sum& sum = sums[name - kNames];
    const auto value = number<double>(sample->value);
    const bool is_share = name->field == &EngineMetrics::kv_usage;
    sum.broken |= !value || !std::isfinite(*value) || *value < 0.0 || (is_share && *value > 1.0);
    sum.sum += value.value_or(0.0);
    ++sum.count;
  }
  metrics.ranks = static_cast<std::uint32_t>(std::popcount(ranks));
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    std::optional<double>& field = metrics.*kNames[i].field;
    if (field || sums[i].count == 0 || sums[i].broken || !std::isfinite(sums[i].sum)) continue;
    const bool is_share = kNames[i].field == &EngineMetrics::kv_usage;
    field = is_share ? sums[i].sum / sums[i].count : sums[i].sum;
  }
  return metrics;
}

}  // namespace dualmesh::node
