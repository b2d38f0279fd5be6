#include "node/ctl/watch.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::size_t kNamedDifferences = 3;  // in one event

std::vector<NodeReport> reports_of(const std::vector<WatchedNode>& nodes) {
  std::vector<NodeReport> reports;
  for (const WatchedNode& node : nodes) reports.push_back(node.report);
  return reports;
}

// What most reached nodes say; the first of equals.
std::string most_common(const std::vector<WatchedNode>& nodes, std::string NodeReport::*digest) {
  std::map<std::string, int> votes;
  std::string best;
  for (const WatchedNode& node : nodes) {
    if (!node.report.reached) continue;
    const std::string& held = node.report.*digest;
    if (++votes[held] > votes[best]) best = held;
  }
  return best;
}

std::uint64_t behind_of(std::size_t node, const Comparison& comparison, const Baseline& since) {
  std::uint64_t behind = 0;
  for (const StreamRow& row : comparison.rows) {
    const Cell& cell = row.cells[node];
    if (cell.state == Cell::State::differs) ++behind;
    if (cell.state != Cell::State::behind) continue;
    const auto wanted = since.find(row.id);
    const std::uint64_t held = row.version - cell.behind;
    if (wanted != since.end() && wanted->second > held) behind += wanted->second - held;
  }
  return behind;
}

WatchLine line_of(const NodeReport& node) {
  return {.name = node.name,
          .address = node.address,
          .reached = node.reached,
          .why_not = node.why_not,
          .ready = node.reached && node.ready,
          .not_ready = node.not_ready};
}

void add_milliseconds(const std::vector<WatchedNode>& nodes, WatchLine& line) {
  for (const WatchedNode& writer : nodes) {
    for (const PeerReport& peer : writer.peers) {
      if (peer.peer != line.name) continue;
      line.pending_ms = std::max(line.pending_ms, peer.pending_ms);
      line.ack_p99_ms = std::max(line.ack_p99_ms, peer.ack_p99_ms);
    }
  }
}

std::string some_of(const std::vector<std::string>& what) {
  std::vector<std::string> named(what.begin(), what.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                  what.size(), kNamedDifferences)));
  if (what.size() > named.size()) {
    named.push_back(fmt::format("{} more", what.size() - named.size()));
  }
  return joined(named, "; ");
}

}  // namespace

WatchRound watch_round(const std::vector<WatchedNode>& nodes, const Baseline& missing_since) {
  const std::vector<NodeReport> reports = reports_of(nodes);
  const Comparison comparison = compare(reports);
  WatchRound round;
  round.missing = missing_from(missing_since, reports);
  round.digest = comparison.digest;
  for (const StreamRow& row : comparison.rows) round.feeds += is_table(row.id.kind) ? 0 : 1;
  if (!round.missing.empty()) {
    round.verdict = std::max(comparison.verdict, Verdict::behind);  // not ready: behind
  }
  const std::string rings = most_common(nodes, &NodeReport::ring_digest);
  const std::string registry = most_common(nodes, &NodeReport::registry_digest);
  const std::string depth = most_common(nodes, &NodeReport::depth_digest);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const NodeReport& node = nodes[i].report;
    WatchLine line = line_of(node);
    line.rings_agree = node.reached && node.ring_digest == rings;
    line.registry_agrees = node.reached && node.registry_digest == registry;
    line.depth_agrees = node.reached && node.depth_digest == depth;
    line.behind = behind_of(i, comparison, missing_since);
    add_milliseconds(nodes, line);
    round.nodes.push_back(std::move(line));
  }
  return round;
}

std::string headline(const WatchRound& round) {
  std::string text =
      fmt::format("mesh: {} node{}, {} feeds, {}", round.nodes.size(),
                  round.nodes.size() == 1 ? "" : "s", round.feeds, to_string(round.verdict));
  if (round.verdict == Verdict::converged) {
    text += fmt::format(" at {:08x}", round.digest >> 32);
  }
  const auto slowest = std::max_element(
      round.nodes.begin(), round.nodes.end(),
      [](const WatchLine& a, const WatchLine& b) { return a.ack_p99_ms < b.ack_p99_ms; });
  if (slowest != round.nodes.end() && slowest->ack_p99_ms >= 0.0) {
    text += fmt::format(", slowest {} {}", slowest->name, ms_text(slowest->ack_p99_ms));
  }
  return text;
}

void SendRates::add(const std::vector<WatchedNode>& nodes, double now_ms, WatchRound& round) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].report.reached) continue;
    std::uint64_t bytes = 0;
    for (const PeerReport& peer : nodes[i].peers) bytes += peer.bytes_sent;
    const auto [seen, fresh] = seen_.try_emplace(nodes[i].report.name);
    Seen& last = seen->second;
    // A peer that is forgotten takes its count along.
    if (!fresh && last.epoch == nodes[i].report.epoch && bytes >= last.bytes &&
        now_ms > last.at_ms) {
      round.nodes[i].sent_per_s =
          static_cast<double>(bytes - last.bytes) * 1e3 / (now_ms - last.at_ms);
    }
    last = {nodes[i].report.epoch, bytes, now_ms};
  }
}

void WatchEvents::changed_to(Verdict verdict, const std::string& what, double now_ms,
                             std::vector<WatchEvent>& out) {
  if (verdict == verdict_) return;
  WatchEvent event{.text = to_string(verdict), .verdict = verdict};
  if (verdict == Verdict::converged) {
    event.lasted_ms = now_ms - apart_since_ms_;
    event.text += fmt::format(" again after {}", ms_text(*event.lasted_ms));
  } else {
    if (verdict_ == Verdict::converged) apart_since_ms_ = now_ms;
    event.text += ": " + what;
  }
  verdict_ = verdict;
  out.push_back(std::move(event));
}

std::vector<WatchEvent> WatchEvents::of(const WatchRound& round, double now_ms) {
  std::vector<WatchEvent> events;
  std::set<std::string> names;
  for (const WatchLine& line : round.nodes) names.insert(line.name);
  const auto tell = [&](const std::set<std::string>& of, const std::set<std::string>& not_in,
                        const char* what) {
    for (const std::string& name : of) {
      if (first_ || not_in.contains(name)) continue;
      events.push_back({.text = fmt::format("{} {}: {} now", name, what, names.size()),
                        .verdict = round.verdict});
    }
  };
  tell(names, names_, "is a living member");
  tell(names_, names, "is no living member any more");
  names_ = std::move(names);
  first_ = false;
  changed_to(round.verdict, some_of(round.missing), now_ms, events);
  return events;
}

std::vector<WatchEvent> WatchEvents::unanswered(const std::string& why, double now_ms) {
  std::vector<WatchEvent> events;
  changed_to(Verdict::unreached, why, now_ms, events);
  return events;
}

}  // namespace dualmesh::node::ctl
