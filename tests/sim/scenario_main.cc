// mesh_scenario: one scripted trouble in a simulated mesh, told as a table, JSON and a plot.
//
// Exit status 0 when every node caught up and all agreed at the end, 1 when not, 2 for a wrong
// command line or a file that could not be written.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "tests/sim/convergence_plot.h"
#include "tests/sim/convergence_text.h"

namespace dualmesh::sim {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  mesh_scenario --scenario partition --nodes 8 --plot convergence.svg\n"
    "  mesh_scenario --scenario join --nodes 16 --seconds 30\n"
    "  mesh_scenario --scenario storm --nodes 4 --seconds 20 --json storm.json\n"
    "  mesh_scenario --scenario restart --nodes 6 --seconds 60 --seed 7 --plot restart.svg\n"
    "\n"
    "The same options give the same bytes. Exit status: 0 caught up and agreed, 1 not, 2 failed.\n";

void show_progress(double now_ms, double all_ms) {
  constexpr std::size_t kWidth = 32;
  const double share = std::min(now_ms / all_ms, 1.0);
  const auto full = static_cast<std::size_t>(share * kWidth);
  fmt::print(stderr, "\r[{}{}] {:.0f} of {:.0f} virtual seconds\x1b[K", std::string(full, '#'),
             std::string(kWidth - full, '.'), now_ms / 1e3, all_ms / 1e3);
}

bool write_file(const std::string& name, const std::string& contents) {
  if (name.empty()) return true;
  std::ofstream file(name, std::ios::binary);
  file << contents;
  file.close();
  if (!file) fmt::print(stderr, "mesh_scenario: could not write {}\n", name);
  return static_cast<bool>(file);
}

int run(const ConvergenceOptions& options, const std::string& json, const std::string& plot) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  double told_ms = 0.0;
  const Convergence found = run_convergence(options, [&](double now_ms) {
    if (!terminal || now_ms < told_ms) return;
    told_ms = now_ms + options.seconds * 10.0;
    show_progress(now_ms, options.seconds * 1e3);
  });
  if (terminal) fmt::print(stderr, "\r\x1b[K");
  fmt::print("{}", convergence_table(found));
  if (!write_file(json, json.empty() ? "" : convergence_json(found))) return 2;
  if (!write_file(plot, plot.empty() ? "" : convergence_plot(found))) return 2;
  return found.agreed && found.caught_up_ms ? 0 : 1;
}

}  // namespace
}  // namespace dualmesh::sim

int main(int argc, char** argv) {
  dualmesh::sim::ConvergenceOptions options;
  std::string json;
  std::string plot;
  CLI::App app("How a simulated mesh falls behind and catches up, in virtual time.",
               "mesh_scenario");
  app.footer(dualmesh::sim::kExamples);
  app.add_option("--scenario", options.scenario,
                 "partition: two halves; join: one more node; storm: 1,000 load changes per second "
                 "and node; restart: a third of the nodes, one after the other")
      ->check(CLI::IsMember({"partition", "join", "storm", "restart"}))
      ->capture_default_str();
  app.add_option("--nodes", options.nodes)->check(CLI::Range(2, 32))->capture_default_str();
  app.add_option("--seconds", options.seconds, "of virtual time")
      ->check(CLI::Range(10.0, 3'600.0))
      ->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--json", json, "write figures and samples to this file");
  app.add_option("--plot", plot, "draw lag, digests and bytes over time into this SVG file");
  try {  // the way CLI11 reports a bad command line
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return dualmesh::sim::run(options, json, plot);
}
