#include "node/replay/report.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "node/replay/statistics.h"

namespace dualmesh::node {

using nlohmann::json;

namespace {

using Selected = std::vector<const RequestResult*>;

json finite(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

std::vector<double> sorted_values(const Selected& results, double RequestResult::*field) {
  std::vector<double> values;
  for (const RequestResult* result : results) values.push_back(result->*field);
  std::sort(values.begin(), values.end());
  return values;
}

std::size_t count(const Selected& results, Outcome outcome) {
  return static_cast<std::size_t>(
      std::count_if(results.begin(), results.end(),
                    [outcome](const RequestResult* r) { return r->outcome == outcome; }));
}

double usage_hit_ratio(const Selected& results) {
  double prompt = 0;
  double cached = 0;
  for (const RequestResult* result : results) {
    prompt += result->prompt_tokens;
    cached += result->cached_tokens;
  }
  return cached / prompt;
}

Selected completed_only(const Selected& results) {
  Selected completed;
  std::copy_if(results.begin(), results.end(), std::back_inserter(completed),
               [](const RequestResult* r) { return r->outcome == Outcome::completed; });
  return completed;
}

void add_counts(const Selected& results, json& out) {
  out["requests"] = results.size();
  out["completed"] = count(results, Outcome::completed);
  out["failed"] = count(results, Outcome::failed);
  out["rejected"] = count(results, Outcome::rejected);
}

void add_latencies(const Selected& results, json& out) {
  const auto ttft = sorted_values(results, &RequestResult::ttft_s);
  const auto e2e = sorted_values(results, &RequestResult::e2e_s);
  const Selected completed = completed_only(results);
  out["ttft_mean"] = finite(mean(sorted_values(completed, &RequestResult::ttft_s)));
  for (int percent : {50, 90, 95, 99}) {
    out["ttft_p" + std::to_string(percent)] = finite(percentile(ttft, percent));
  }
  out["ttft_max"] = finite(percentile(ttft, 100));
  out["e2e_mean"] = finite(mean(sorted_values(completed, &RequestResult::e2e_s)));
  out["e2e_p50"] = finite(percentile(e2e, 50));
  out["e2e_p99"] = finite(percentile(e2e, 99));
  const auto itl = sorted_values(completed, &RequestResult::itl_s);
  out["itl_p50"] = finite(percentile(itl, 50));
  out["itl_p99"] = finite(percentile(itl, 99));
}

void add_rates(const Selected& results, double slo_ttft_s, json& out) {
  double first_s = INFINITY;
  double last_arrival_s = -INFINITY;
  double end_s = -INFINITY;
  double tokens = 0;
  std::size_t in_time = 0;
  for (const RequestResult* result : results) {
    first_s = std::min(first_s, result->arrival_s);
    last_arrival_s = std::max(last_arrival_s, result->arrival_s);
    if (result->ttft_s <= slo_ttft_s) ++in_time;
    if (result->outcome != Outcome::completed) continue;
    end_s = std::max(end_s, result->arrival_s + result->e2e_s);
    tokens += result->completion_tokens;
  }
  // Without any answer the duration has no end, and the rates are zero.
  const bool answered = std::isfinite(end_s);
  const double duration_s = answered ? end_s - first_s : NAN;
  out["slo_ttft_s"] = slo_ttft_s;
  out["slo_attainment"] =
      finite(static_cast<double>(in_time) / static_cast<double>(results.size()));
  out["duration_s"] = finite(duration_s);
  out["qps"] = results.size() < 2
                   ? json(nullptr)
                   : finite(static_cast<double>(results.size() - 1) / (last_arrival_s - first_s));
  out["goodput_qps"] = answered ? finite(static_cast<double>(in_time) / duration_s) : json(0.0);
  out["output_tokens_per_s"] = answered ? finite(tokens / duration_s) : json(0.0);
}

json group_by(const Selected& results, std::string RequestResult::*key) {
  std::map<std::string, Selected> groups;
  for (const RequestResult* result : results) groups[result->*key].push_back(result);
  json out = json::object();
  for (const auto& [name, members] : groups) {
    if (name.empty()) continue;  // no answer, or a target that does not name itself
    json group;
    add_counts(members, group);
    group["ttft_p50"] = finite(percentile(sorted_values(members, &RequestResult::ttft_s), 50));
    group["ttft_p99"] = finite(percentile(sorted_values(members, &RequestResult::ttft_s), 99));
    group["hit_ratio_usage"] = finite(usage_hit_ratio(members));
    out[name] = std::move(group);
  }
  return out;
}

json time_series(const Selected& results, double window_s) {
  std::map<long, Selected> windows;
  for (const RequestResult* result : results) {
    windows[static_cast<long>(std::floor(result->arrival_s / window_s))].push_back(result);
  }
  json series = json::array();
  for (const auto& [number, members] : windows) {
    series.push_back(
        {{"t_s", static_cast<double>(number) * window_s},
         {"requests", members.size()},
         {"hit_ratio", finite(usage_hit_ratio(members))},
         {"ttft_p50", finite(percentile(sorted_values(members, &RequestResult::ttft_s), 50))},
         {"failures", members.size() - count(members, Outcome::completed)}});
  }
  return series;
}

json reasons(const Selected& results) {
  json out = json::object();
  for (const RequestResult* result : results) {
    if (result->outcome == Outcome::completed) continue;
    out[result->reason] = out.value(result->reason, 0) + 1;
  }
  return out;
}

// The instances' own figures; what they are does not depend on what clients saw.
void add_engines(const ReplayOutcome& outcome, const ReportSettings& settings, json& out) {
  double queries = 0, hits = 0, computed = 0, generated = 0, preemptions = 0;
  double running = 0, waiting = 0;
  double worst_lateness = NAN;
  Buckets ttft_s;
  std::vector<double> load;
  for (const auto& [address, engine] : outcome.engines) {
    queries += engine.prefix_queries;
    hits += engine.prefix_hits;
    computed += engine.prefill_computed;
    generated += engine.generated_tokens;
    preemptions += engine.preemptions;
    running += engine.running;
    waiting += engine.waiting;
    add(ttft_s, engine.ttft_s);
    load.push_back(engine.prefill_computed);
    const double lateness = lateness_ratio_p99(engine);
    if (!(worst_lateness >= lateness)) worst_lateness = lateness;
    json& at = out["per_instance"][engine.name.empty() ? address : engine.name];
    at["address"] = address;
    at["hit_ratio"] = finite(engine.prefix_hits / engine.prefix_queries);
    at["prefill_tokens_computed"] = finite(engine.prefill_computed);
    at["generated_tokens"] = finite(engine.generated_tokens);
    at["running"] = finite(engine.running);
    at["waiting"] = finite(engine.waiting);
    at["timer_lateness_ratio_p99"] = finite(lateness);
  }
  const bool scraped = !outcome.engines.empty();
  out["hit_ratio"] = scraped ? finite(hits / queries) : json(nullptr);
  out["prefill_tokens_computed"] = scraped ? finite(computed) : json(nullptr);
  out["preemptions"] = scraped ? finite(preemptions) : json(nullptr);
  out["load_cv"] = finite(coefficient_of_variation(load));
  out["engine"] = {{"prefix_queries", finite(queries)},
                   {"prefix_hits", finite(hits)},
                   {"generated_tokens", finite(generated)},
                   {"running_at_end", finite(running)},
                   {"waiting_at_end", finite(waiting)},
                   // The instances measure wall seconds, so their histogram is scaled like ours.
                   {"ttft_p50", finite(histogram_quantile(ttft_s, 0.5) * settings.speed)},
                   {"ttft_p99", finite(histogram_quantile(ttft_s, 0.99) * settings.speed)},
                   {"unscraped", outcome.unscraped}};
  out["timer_lateness_ratio_p99"] = finite(worst_lateness);
  // Nothing measured is not proof of timeliness, but nothing to void either: real instances have
  // none.
  out["void"] = worst_lateness > settings.max_lateness_ratio;
}

}  // namespace

json make_report(const ReplayOutcome& outcome, const ReportSettings& settings) {
  Selected counted;
  for (const RequestResult& result : outcome.results) {
    if (result.counted) counted.push_back(&result);
  }
  json out;
  add_counts(counted, out);
  out["planned"] = outcome.planned;
  out["warmup"] = outcome.results.size() - counted.size();
  out["interrupted"] = outcome.interrupted;
  out["speed"] = settings.speed;
  out["wall_seconds"] = outcome.wall_seconds;
  out["notes"] = outcome.notes;
  add_rates(counted, settings.slo_ttft_s, out);
  add_latencies(counted, out);
  out["hit_ratio_usage"] = finite(usage_hit_ratio(counted));
  out["reasons"] = reasons(counted);
  const auto lateness = sorted_values(counted, &RequestResult::send_lateness_wall_s);
  out["send_lateness_wall_p50"] = finite(percentile(lateness, 50));
  out["send_lateness_wall_p99"] = finite(percentile(lateness, 99));
  std::uint64_t connect_retries = 0;
  for (const RequestResult* result : counted) connect_retries += result->connect_retries;
  out["connect_retries"] = connect_retries;
  out["per_node"] = group_by(counted, &RequestResult::node);
  out["per_instance"] = group_by(counted, &RequestResult::instance);
  add_engines(outcome, settings, out);
  out["time_series"] = time_series(counted, settings.window_s);
  return out;
}

int exit_status(const json& report) {
  if (report["interrupted"].get<bool>()) return 130;
  if (report["completed"] == 0) return 1;
  return report["void"].get<bool>() ? 3 : 0;
}

bool can_be_written(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path parent = fs::absolute(path, error).parent_path();
  return !fs::is_directory(path, error) && access(parent.c_str(), W_OK) == 0;
}

net::Result<void> write_atomically(const std::string& path, const std::string& text) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool link = fs::is_symlink(path, error);
  const fs::path target = link ? fs::canonical(path, error) : fs::path(path);
  if (link && error) return net::Error{path + ": a link that leads nowhere"};
  if (fs::exists(target, error) && !fs::is_regular_file(target, error)) {
    std::ofstream device(target, std::ios::binary);  // or a pipe: to be written to, not replaced
    device << text;
    device.flush();
    if (!device) return net::Error{path + ": cannot be written"};
    return {};
  }
  const std::string temporary = fmt::format("{}.{}.tmp", target.string(), getpid());
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << text;
    file.flush();
    if (!file) {
      std::remove(temporary.c_str());
      return net::Error{path + ": cannot be written"};
    }
  }
  if (std::rename(temporary.c_str(), target.c_str()) != 0) {
    std::remove(temporary.c_str());
    return net::Error{path + ": cannot be replaced"};
  }
  return {};
}

}  // namespace dualmesh::node
