#include "node/replay/outputs.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "node/replay/comparison_plot.h"
#include "node/replay/report.h"

namespace dualmesh::node {
namespace {

using nlohmann::json;

constexpr std::size_t kLabelColumns = 26;
constexpr std::size_t kMaxClientsShown = 32;  // of each result, those who ask for most

std::string number(double value, int decimals) {
  if (std::isinf(value)) return "inf";
  if (std::isnan(value)) return "-";
  return fmt::format("{:.{}f}", value, decimals);
}

std::string quoted(const std::string& text) { return '"' + text + '"'; }  // specs hold no quotes

const std::string& residency_of(const BenchResult& result) {
  static const std::string predicted = "predicted";
  return result.contestant.residency.empty() ? predicted : result.contestant.residency;
}

json finite(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

std::span<const ClientFigures> shown_clients(const BenchResult& result) {
  return std::span(result.clients).first(std::min(result.clients.size(), kMaxClientsShown));
}

void add_clients(const BenchResult& result, json& out) {
  if (result.clients.size() < 2) return;
  for (const ClientFigures& one : shown_clients(result)) {
    out["by_client"].push_back({{"client", one.client},
                                {"weight", one.weight},
                                {"requests", one.requests},
                                {"demand", one.demand},
                                {"service", one.service},
                                {"computed", one.computed},
                                {"fair_share", one.fair_share},
                                {"ttft_p50", finite(one.ttft_p50)},
                                {"ttft_p99", finite(one.ttft_p99)},
                                {"well_behaved", one.well_behaved}});
  }
}

// CLIENT=SERVICE;... as one quoted field, in the rows of the first seed.
std::string service_by_client(const BenchResult& result) {
  if (result.clients.size() < 2) return {};
  std::string text;
  for (const ClientFigures& one : shown_clients(result)) {
    if (!text.empty()) text += ';';
    for (const char c : one.client) text += c == '"' ? "\"\"" : std::string(1, c);
    text += fmt::format("={:.9g}", one.service);
  }
  return '"' + text + '"';
}

std::string clients_text(const BenchResult& result) {
  if (result.clients.size() < 2) return {};
  std::string text =
      fmt::format("\n{:<26}{:>8}{:>9}{:>12}{:>12}{:>12}{:>8}{:>8}\n", "client of the first seed",
                  "weight", "requests", "asked", "service", "fair share", "TTFT50", "99");
  for (const ClientFigures& one : shown_clients(result)) {
    text +=
        fmt::format("{:<26}{:>8}{:>9}{:>12}{:>12}{:>12}{:>8}{:>8}\n",
                    one.client + (one.well_behaved ? "" : " *"), number(one.weight, 2),
                    number(one.requests, 0), number(one.demand, 0), number(one.service, 0),
                    number(one.fair_share, 0), number(one.ttft_p50, 2), number(one.ttft_p99, 2));
  }
  const std::size_t left_out = result.clients.size() - shown_clients(result).size();
  if (left_out > 0) text += fmt::format("and {} who ask for less\n", left_out);
  return text + "* asks for more than an even share\n";
}

}  // namespace

std::string check_outputs(const SimulationOptions& options) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!options.plot_dir.empty()) {
    fs::create_directories(options.plot_dir, error);
    if (error || access(options.plot_dir.c_str(), W_OK) != 0) {
      return fmt::format("--plot {}: not a directory that can be written", options.plot_dir);
    }
  }
  const std::pair<const char*, const std::string*> files[] = {{"--json", &options.json_file},
                                                              {"--csv", &options.csv_file}};
  for (const auto& [flag, file] : files) {
    if (!file->empty() && !can_be_written(*file)) {
      return fmt::format("{} {}: {}", flag, *file, kNotWritable);
    }
  }
  return {};
}

json result_json(const BenchResult& result, const SimulationOptions& options, double limit_qps) {
  json out;
  out["policy"] = result.contestant.policy;
  out["queue"] = result.contestant.queue;
  out["residency"] = residency_of(result);
  out["routers"] = options.fleet.routers;
  out["instances"] = options.fleet.instances;
  out["preset"] = options.preset;
  out["seed"] = options.seed;
  out["seeds"] = options.seeds;
  out["slo_ttft_s"] = options.fleet.scheduler.slo_ttft_s;
  if (result.capacity_qps) {
    out["capacity_qps"] = *result.capacity_qps;
    out["capacity_qps_by_seed"] = result.capacity_by_seed;
    out["notes"] = result.notes;
  }
  add_figures(result.figures, out);
  add_clients(result, out);
  const double rate = result.capacity_qps.value_or(result.figures.qps);
  out["engine_limit_qps"] = finite(limit_qps);
  out["engine_limit_fraction"] = finite(rate / limit_qps);
  return out;
}

std::string csv_of(std::span<const BenchResult> results, const SimulationOptions& options) {
  std::string text = "policy,queue,residency,routers,instances,seed,capacity_qps";
  for (const FigureColumn& column : figure_columns()) text += fmt::format(",{}", column.name);
  text += ",service_by_client\n";
  for (const BenchResult& result : results) {
    for (std::size_t i = 0; i < result.by_seed.size(); ++i) {
      text += fmt::format(
          "{},{},{},{},{},{},{}", quoted(result.contestant.policy), quoted(result.contestant.queue),
          residency_of(result), options.fleet.routers, options.fleet.instances, options.seed + i,
          result.capacity_qps ? fmt::format("{:.6g}", result.capacity_by_seed[i]) : "");
      for (const FigureColumn& column : figure_columns()) {
        const double value = result.by_seed[i].*column.value;
        text += std::isfinite(value) ? fmt::format(",{:.9g}", value) : ",";
      }
      text += ',' + (i == 0 ? service_by_client(result) : "") + '\n';
    }
  }
  return text;
}

std::string table_of(std::span<const BenchResult> results, double limit_qps) {
  std::string text =
      fmt::format("{:<26}{:>7}{:>7}{:>7}{:>7}{:>6}{:>8}{:>8}{:>8}{:>8}{:>7}\n", "policy", "QPS",
                  "limit", "SLO", "hit", "CV", "TTFT50", "90", "99", "max", "moved");
  for (const BenchResult& result : results) {
    const SimulationFigures& f = result.figures;
    const double qps = result.capacity_qps.value_or(f.qps);
    std::string label = result.contestant.label();
    if (label.size() >= kLabelColumns) {  // a line of its own
      text += label + "\n";
      label.clear();
    }
    text += fmt::format("{:<26}{:>7}{:>7}{:>7}{:>7}{:>6}{:>8}{:>8}{:>8}{:>8}{:>7}\n", label,
                        number(qps, 2), number(qps / limit_qps, 3), number(f.slo_attainment, 3),
                        number(f.hit_ratio, 3), number(f.load_cv, 2), number(f.ttft_p50, 2),
                        number(f.ttft_p90, 2), number(f.ttft_p99, 2), number(f.ttft_max, 2),
                        number(f.migrations, 0));
  }
  return text;
}

std::string list_of(const BenchResult& result, double limit_qps) {
  std::string text = fmt::format("{:<24} {}\n", "policy", result.contestant.label());
  if (result.capacity_qps) {
    text += fmt::format("{:<24} {:.3f}\n", "capacity_qps", *result.capacity_qps);
  }
  for (const FigureColumn& column : figure_columns()) {
    const int decimals = column.whole ? 0 : 4;
    text += fmt::format("{:<24} {}\n", column.name, number(result.figures.*column.value, decimals));
  }
  const double rate = result.capacity_qps.value_or(result.figures.qps);
  text += fmt::format("{:<24} {:.3f}\n", "engine_limit_qps", limit_qps);
  text += fmt::format("{:<24} {:.4f}\n", "engine_limit_fraction", rate / limit_qps);
  return text + clients_text(result);
}

std::string fairness_table_of(std::span<const BenchResult> results) {
  const auto clients = [](const BenchResult& result) { return result.clients.size() > 1; };
  if (std::none_of(results.begin(), results.end(), clients)) return {};
  std::string text = fmt::format("\n{:<42}{:>7}{:>12}{:>17}{:>16}\n", "policy", "Jain", "service/s",
                                 "P99 well-behaved", "P99 of others");
  for (const BenchResult& result : results) {
    const SimulationFigures& f = result.figures;
    text += fmt::format("{:<42}{:>7}{:>12}{:>17}{:>16}\n", result.contestant.label(),
                        number(f.jain_fairness, 3), number(f.service_per_s, 0),
                        number(f.ttft_p99_well_behaved, 2), number(f.ttft_p99_other_clients, 2));
  }
  return text;
}

int put_out(const SimulationOptions& options, const json& object,
            std::span<const BenchResult> results, const std::string& text) {
  const std::string dumped = object.dump(2) + "\n";
  const auto put = [](const std::string& path, const std::string& what) {
    const auto written = write_atomically(path, what);
    if (written.has_error()) std::cerr << "dualmesh-replay: " << written.error().message << "\n";
    return !written.has_error();
  };
  bool good = true;
  if (!options.json_file.empty()) good = put(options.json_file, dumped) && good;
  if (!options.csv_file.empty()) good = put(options.csv_file, csv_of(results, options)) && good;
  if (!options.plot_dir.empty()) {
    for (const auto& [name, svg] : draw_comparison(results)) {
      good = put((std::filesystem::path(options.plot_dir) / name).string(), svg) && good;
    }
  }
  std::cout << (options.json && options.json_file.empty() ? dumped : text) << std::flush;
  return good && std::cout ? 0 : 1;
}

}  // namespace dualmesh::node
