// lag and wait-converged: every live node is asked, the answers are laid side by side.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::uint32_t kPollMs = 50;

std::string cell_text(const StreamRow& row, const Cell& cell) {
  switch (cell.state) {
    case Cell::State::in_step:
      return cell.relayed ? "r" : "·";
    case Cell::State::behind:
      if (cell.partial) return cell.relayed ? "?r" : "?";
      return fmt::format("-{}{}", cell.behind, cell.relayed ? "r" : "");
    case Cell::State::differs:
      return is_table(row.id.kind) ? "≠" : "≠!";
    case Cell::State::unknown:
      return "?";
  }
  return "?";
}

// Names as column heads where they fit, numbers and a key where they do not.
std::vector<Column> matrix_columns(const std::vector<NodeReport>& nodes, bool numbered) {
  std::vector<Column> columns = {{.title = "stream", .shrink = 1},
                                 {.title = "writer", .shrink = 1},
                                 {"version", Align::right}};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    columns.push_back({numbered ? std::to_string(i + 1) : nodes[i].name, Align::right});
  }
  return columns;
}

bool names_fit(const std::vector<NodeReport>& nodes) {
  constexpr std::size_t kOtherColumns = 44;  // stream, writer, version
  std::size_t total = 0;
  for (const NodeReport& node : nodes) total += display_width(node.name) + 2;
  return total + kOtherColumns <= line_width();
}

void print_matrix(const std::vector<NodeReport>& nodes, const Comparison& comparison) {
  const bool numbered = !names_fit(nodes);
  TextTable table(matrix_columns(nodes, numbered));
  for (const StreamRow& row : comparison.rows) {
    std::vector<std::string> cells = {row.label, row.writer,
                                      is_table(row.id.kind) ? "-" : count_text(row.version)};
    for (const Cell& cell : row.cells) cells.push_back(cell_text(row, cell));
    table.add(std::move(cells));
  }
  std::fputs(table.render().c_str(), stdout);
  for (const NodeReport& node : nodes) {
    for (const auto& [writer, through] : node.relays) {
      const auto named = std::ranges::find(nodes, writer, &NodeReport::node);
      if (named == nodes.end()) continue;
      std::puts(wrapped(fmt::format("r: {} does not hear {} itself; {} passes it on", node.name,
                                    named->name, through),
                        3)
                    .c_str());
    }
  }
  if (!numbered) return;
  std::vector<std::string> key;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    key.push_back(fmt::format("{}={}", i + 1, nodes[i].name));
  }
  std::puts(wrapped(joined(key, " "), 0).c_str());
}

std::string acknowledged_text(wire::Percentiles::Reader ms) {
  if (ms.getCount() == 0) return "-";
  return fmt::format("{:.1f} / {:.1f} / {:.1f}", ms.getP50(), ms.getP99(), ms.getMax());
}

void print_peers(const Session::MeshReport& report) {
  TextTable table({{.title = "writer", .shrink = 1},
                   {.title = "peer", .shrink = 1},
                   {"link"},
                   {"ack ms p50/p99/max", Align::right},
                   {"pending", Align::right},
                   {"sent", Align::right},
                   {"received", Align::right},
                   {"resets", Align::right},
                   {"refused", Align::right},
                   {"redials", Align::right}});
  for (std::size_t i = 0; i < report.nodes.size(); ++i) {
    if (!report.answers[i]) continue;
    for (auto peer : report.answers[i]->getReplication().getPeers()) {
      table.add({report.nodes[i].name, peer.getName().cStr(), peer.getLinked() ? "up" : "DOWN",
                 acknowledged_text(peer.getAckMs()),
                 peer.getPendingMs() > 0.0 ? ms_text(peer.getPendingMs()) : "-",
                 bytes_text(peer.getBytesSent()), bytes_text(peer.getBytesReceived()),
                 count_text(peer.getResets()), count_text(peer.getRefusedDeltas()),
                 count_text(peer.getReconnects())});
    }
  }
  if (!table.empty()) std::fputs(("\n" + table.render()).c_str(), stdout);
}

struct SlowestPeer {
  std::string name;
  double p50 = 0.0, p99 = 0.0;
};

// By what its writers measured: no two clocks are compared.
SlowestPeer slowest_peer(const Session::MeshReport& report) {
  SlowestPeer slowest;
  for (const auto& answer : report.answers) {
    if (!answer) continue;
    for (auto peer : answer->getReplication().getPeers()) {
      const auto ms = peer.getAckMs();
      if (ms.getCount() == 0 || (!slowest.name.empty() && ms.getP99() <= slowest.p99)) continue;
      slowest = {peer.getName().cStr(), ms.getP50(), ms.getP99()};
    }
  }
  return slowest;
}

std::string headline(const Session::MeshReport& report, const Comparison& comparison) {
  std::string text = fmt::format("mesh: {} nodes, {} streams, {}", report.nodes.size(),
                                 comparison.rows.size(), to_string(comparison.verdict));
  if (comparison.verdict == Verdict::converged) {
    text += fmt::format(" at {:016x}", comparison.digest);
  }
  const SlowestPeer slowest = slowest_peer(report);
  if (!slowest.name.empty()) {
    text += fmt::format("   slowest peer {}: p50 {:.1f} ms, p99 {:.1f} ms", slowest.name,
                        slowest.p50, slowest.p99);
  }
  return text;
}

const char* state_name(Cell::State state) {
  switch (state) {
    case Cell::State::in_step:
      return "in_step";
    case Cell::State::behind:
      return "behind";
    case Cell::State::differs:
      return "differs";
    case Cell::State::unknown:
      return "unknown";
  }
  return "unknown";
}

nlohmann::ordered_json stream_json(const StreamRow& row, const std::vector<NodeReport>& nodes) {
  auto per_node = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    per_node[nodes[i].name] = {{"state", state_name(row.cells[i].state)},
                               {"behind", row.cells[i].behind},
                               {"partial", row.cells[i].partial},
                               {"relayed", row.cells[i].relayed}};
  }
  return {{"stream", row.label},
          {"kind", kind_name(row.id.kind)},
          {"writer", row.writer},
          {"version", row.version},
          {"nodes", per_node}};
}

nlohmann::ordered_json lag_json(const Session::MeshReport& report, const Comparison& comparison) {
  auto nodes = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < report.nodes.size(); ++i) {
    const NodeReport& node = report.nodes[i];
    nlohmann::ordered_json entry = {{"name", node.name},
                                    {"address", node.address},
                                    {"reached", node.reached},
                                    {"error", node.why_not}};
    if (report.answers[i]) {
      entry["peers"] = to_json(report.answers[i]->getReplication().getPeers());
    }
    nodes.push_back(std::move(entry));
  }
  auto streams = nlohmann::ordered_json::array();
  for (const StreamRow& row : comparison.rows) streams.push_back(stream_json(row, report.nodes));
  return {{"verdict", to_string(comparison.verdict)},
          {"converged", comparison.verdict == Verdict::converged},
          {"digest", fmt::format("{:016x}", comparison.digest)},
          {"differing", comparison.differing},
          {"nodes", nodes},
          {"dead", dead_json(report.dead)},
          {"streams", streams}};
}

int report_wait(const Session& session, bool converged, double waited_ms, std::size_t nodes,
                const std::vector<std::string>& missing) {
  if (session.json()) {
    print_json({{"converged", converged},
                {"waited_ms", waited_ms},
                {"nodes", nodes},
                {"missing", missing}});
  } else if (converged) {
    std::puts(fmt::format("converged: {} nodes hold the same, after {}", nodes, ms_text(waited_ms))
                  .c_str());
  } else {
    std::puts(fmt::format("not converged after {}:", ms_text(waited_ms)).c_str());
    for (const std::string& what : missing) std::puts(("  " + wrapped(what, 4)).c_str());
  }
  return converged ? kExitDone : kExitNo;
}

}  // namespace

int run_lag(Session& session) {
  auto report = session.ask_all();
  if (!report) return failed(report.error());
  const Comparison comparison = compare(report->nodes);
  if (session.json()) {
    print_json(lag_json(*report, comparison));
    return kExitDone;
  }
  std::puts(headline(*report, comparison).c_str());
  if (!report->dead.empty()) std::puts(wrapped(dead_text(report->dead), 2).c_str());
  print_matrix(report->nodes, comparison);
  print_peers(*report);
  for (const std::string& what : comparison.differing) {
    std::puts(("  " + wrapped(what, 4)).c_str());
  }
  return kExitDone;
}

int run_wait_converged(Session& session, std::uint32_t timeout_ms) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const auto waited_ms = [&] {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  auto report = session.ask_all();
  if (!report) return failed(report.error());
  const Baseline baseline = baseline_of(report->nodes);
  while (true) {
    const auto missing = missing_from(baseline, report->nodes);
    if (missing.empty() || waited_ms() >= timeout_ms) {
      return report_wait(session, missing.empty(), waited_ms(), report->nodes.size(), missing);
    }
    session.node().sleep_ms(kPollMs);
    report = session.ask_all();
    if (!report) return failed(report.error());
  }
}

}  // namespace dualmesh::node::ctl
