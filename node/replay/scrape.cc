#include "node/replay/scrape.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <unordered_map>

namespace dualmesh::node {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct Series {
  std::string_view name;
  std::string_view labels;  // between the braces
  double value = kNaN;
};

// False for comments and what is not a sample.
bool parse_line(std::string_view line, Series& series) {
  if (line.empty() || line.front() == '#') return false;
  const std::size_t name_end = line.find_first_of("{ \t");
  if (name_end == std::string_view::npos) return false;
  series.name = line.substr(0, name_end);
  series.labels = {};
  std::size_t at = name_end;
  if (line[at] == '{') {
    bool quoted = false;
    for (++at; at < line.size() && (quoted || line[at] != '}'); ++at) {
      if (quoted && line[at] == '\\')
        ++at;
      else if (line[at] == '"')
        quoted = !quoted;
    }
    if (at >= line.size()) return false;
    series.labels = line.substr(name_end + 1, at - name_end - 1);
    ++at;
  }
  const std::string rest(line.substr(at));
  char* end = nullptr;
  series.value = std::strtod(rest.c_str(), &end);
  return end != rest.c_str();
}

std::string_view label(std::string_view labels, std::string_view key) {
  for (std::size_t at = labels.find(key); at != std::string_view::npos;
       at = labels.find(key, at + 1)) {
    const std::string_view rest = labels.substr(at + key.size());
    if ((at == 0 || labels[at - 1] == ',') && rest.starts_with("=\"")) {
      return rest.substr(2, rest.find('"', 2) - 2);
    }
  }
  return {};
}

}  // namespace

EngineSample parse_engine_metrics(std::string_view text) {
  EngineSample sample;
  std::unordered_map<std::string_view, double> sums;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    Series series;
    if (parse_line(text.substr(0, end), series)) {
      const std::string bound(label(series.labels, "le"));
      if (series.name == "vllm:time_to_first_token_seconds_bucket") {
        sample.ttft_s[std::strtod(bound.c_str(), nullptr)] += series.value;
      } else if (series.name == "dualmesh_engine_timer_lateness_seconds_bucket") {
        sample.lateness_s[std::strtod(bound.c_str(), nullptr)] += series.value;
      } else if (series.name == "dualmesh_engine_info") {
        sample.name = label(series.labels, "name");
      } else {
        sums[series.name] += series.value;
      }
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  auto read = [&](std::string_view name) {
    auto at = sums.find(name);
    return at == sums.end() ? kNaN : at->second;
  };
  sample.prompt_tokens = read("vllm:prompt_tokens_total");
  sample.prefix_queries = read("vllm:prefix_cache_queries_total");
  sample.prefix_hits = read("vllm:prefix_cache_hits_total");
  sample.generated_tokens = read("vllm:generation_tokens_total");
  sample.preemptions = read("vllm:num_preemptions_total");
  sample.running = read("vllm:num_requests_running");
  sample.waiting = read("vllm:num_requests_waiting");
  sample.prefill_computed = read("dualmesh_engine_prefill_tokens_computed_total");
  if (std::isnan(sample.prefill_computed)) {
    sample.prefill_computed = read("vllm:request_prefill_kv_computed_tokens_sum");
  }
  if (std::isnan(sample.prefill_computed)) {
    sample.prefill_computed = sample.prefix_queries - sample.prefix_hits;
  }
  sample.iteration_s = read("dualmesh_engine_iteration_seconds_sum");
  sample.iterations = read("dualmesh_engine_iteration_seconds_count");
  return sample;
}

EngineSample difference(const EngineSample& after, const EngineSample& before) {
  EngineSample delta = after;
  delta.prompt_tokens -= before.prompt_tokens;
  delta.prefix_queries -= before.prefix_queries;
  delta.prefix_hits -= before.prefix_hits;
  delta.prefill_computed -= before.prefill_computed;
  delta.generated_tokens -= before.generated_tokens;
  delta.preemptions -= before.preemptions;
  delta.ttft_s = subtract(after.ttft_s, before.ttft_s);
  delta.lateness_s = subtract(after.lateness_s, before.lateness_s);
  delta.iteration_s -= before.iteration_s;
  delta.iterations -= before.iterations;
  return delta;
}

double lateness_ratio_p99(const EngineSample& delta) {
  return histogram_quantile(delta.lateness_s, 0.99) / (delta.iteration_s / delta.iterations);
}

}  // namespace dualmesh::node
