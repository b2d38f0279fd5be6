#include "tests/sim/convergence_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace dualmesh::sim {
namespace {

using Json = nlohmann::ordered_json;

std::string in_ms(const std::optional<double>& ms) {
  return ms ? fmt::format("{:.0f} ms", *ms) : "never";
}

Json maybe(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

double worst_lag(const Convergence& run) {
  double worst = 0.0;
  for (const NodeOutcome& node : run.nodes) worst = std::max(worst, node.worst_lag_ms);
  return worst;
}

std::uint64_t bytes(const Convergence& run) {
  std::uint64_t sum = 0;
  for (const NodeOutcome& node : run.nodes) sum += node.bytes;
  return sum;
}

Json sample_json(const ConvergenceSample& sample) {
  auto nodes = Json::array();
  for (const NodeSample& node : sample.nodes) {
    nodes.push_back({{"up", node.up},
                     {"streams_behind", node.streams},
                     {"changes_behind", node.changes},
                     {"lag_ms", node.lag_ms},
                     {"bytes_sent", node.bytes}});
  }
  return {{"at_ms", sample.at_ms},
          {"nodes", nodes},
          {"distinct",
           {{"rings", sample.distinct.rings},
            {"registry", sample.distinct.registry},
            {"depth", sample.distinct.depth},
            {"load", sample.distinct.load}}}};
}

}  // namespace

std::string convergence_table(const Convergence& run) {
  std::string text =
      fmt::format("{}: {} nodes, {:.0f} s, seed {}, {} changes\n", run.options.scenario,
                  run.options.nodes, run.options.seconds, run.options.seed, run.changes);
  for (const Trouble& trouble : run.troubles) {
    text += fmt::format("  {:.1f} to {:.1f} s  {}\n", trouble.begins_ms / 1e3,
                        trouble.ends_ms / 1e3, trouble.name);
  }
  text += fmt::format("{:<6} {:>14} {:>10} {:>14} {:>14} {:>12}\n", "node", "calm, worst lag",
                      "worst lag", "most behind", "caught up", "sent");
  for (std::size_t i = 0; i < run.nodes.size(); ++i) {
    const NodeOutcome& node = run.nodes[i];
    text += fmt::format("{:<6} {:>12.0f} ms {:>7.0f} ms {:>6} changes {:>14} {:>9.0f} kB\n",
                        run.names[i], node.worst_calm_ms, node.worst_lag_ms, node.most_changes,
                        in_ms(node.caught_up_ms), static_cast<double>(node.bytes) / 1e3);
  }
  return text +
         fmt::format("converged {} after {:.1f} s; worst lag {:.0f} ms; {:.0f} kB sent; {}\n",
                     in_ms(run.caught_up_ms), run.measured_from_ms / 1e3, worst_lag(run),
                     static_cast<double>(bytes(run)) / 1e3,
                     run.agreed ? "all agree at the end" : "NO AGREEMENT at the end");
}

std::string convergence_json(const Convergence& run) {
  auto troubles = Json::array();
  for (const Trouble& trouble : run.troubles) {
    troubles.push_back(
        {{"name", trouble.name}, {"begins_ms", trouble.begins_ms}, {"ends_ms", trouble.ends_ms}});
  }
  auto nodes = Json::array();
  for (std::size_t i = 0; i < run.nodes.size(); ++i) {
    const NodeOutcome& node = run.nodes[i];
    nodes.push_back({{"name", run.names[i]},
                     {"worst_calm_lag_ms", node.worst_calm_ms},
                     {"worst_lag_ms", node.worst_lag_ms},
                     {"most_changes_behind", node.most_changes},
                     {"caught_up_ms", maybe(node.caught_up_ms)},
                     {"bytes_sent", node.bytes}});
  }
  auto samples = Json::array();
  for (const ConvergenceSample& sample : run.samples) samples.push_back(sample_json(sample));
  const Json whole = {{"scenario", run.options.scenario},
                      {"nodes", run.options.nodes},
                      {"seconds", run.options.seconds},
                      {"seed", run.options.seed},
                      {"changes", run.changes},
                      {"measured_from_ms", run.measured_from_ms},
                      {"converged_ms", maybe(run.caught_up_ms)},
                      {"worst_lag_ms", worst_lag(run)},
                      {"bytes_sent", bytes(run)},
                      {"agreed", run.agreed},
                      {"troubles", troubles},
                      {"outcome", nodes},
                      {"sample_ms", kSampleMs},
                      {"samples", samples}};
  return whole.dump() + "\n";
}

}  // namespace dualmesh::sim
