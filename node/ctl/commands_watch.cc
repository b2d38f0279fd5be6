// watch: the mesh at a glance, drawn again each interval; what changes is told below.
#include <spdlog/fmt/chrono.h>
#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <deque>
#include <nlohmann/json.hpp>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"
#include "node/ctl/watch.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::uint32_t kSettleMs = 50;   // until what is only on its way has arrived
constexpr std::uint32_t kSleepMs = 50;    // at a time, so that Ctrl-C is heard
constexpr std::size_t kEventsShown = 12;  // on a terminal

volatile std::sig_atomic_t stop_asked = 0;

void ask_to_stop(int) { stop_asked = 1; }

double steady_ms() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string utc_now(const char* format) {
  return fmt::format(fmt::runtime(fmt::format("{{:{}}}", format)), fmt::gmtime(std::time(nullptr)));
}

std::vector<WatchedNode> watched(const Session::MeshReport& report) {
  std::vector<WatchedNode> nodes;
  for (std::size_t i = 0; i < report.nodes.size(); ++i) {
    nodes.push_back({.report = report.nodes[i], .peers = {}});
    if (!report.answers[i]) continue;
    for (auto peer : report.answers[i]->getReplication().getPeers()) {
      const auto ack = peer.getAckMs();
      nodes.back().peers.push_back({.peer = peer.getName().cStr(),
                                    .bytes_sent = peer.getBytesSent(),
                                    .pending_ms = peer.getPendingMs(),
                                    .ack_p99_ms = ack.getCount() == 0 ? -1.0 : ack.getP99()});
    }
  }
  return nodes;
}

nlohmann::ordered_json line_json(const WatchLine& line) {
  nlohmann::ordered_json json = {{"name", line.name},
                                 {"address", line.address},
                                 {"reached", line.reached},
                                 {"error", line.why_not},
                                 {"ready", line.ready},
                                 {"not_ready", line.not_ready},
                                 {"rings_agree", line.rings_agree},
                                 {"registry_agrees", line.registry_agrees},
                                 {"depth_agrees", line.depth_agrees},
                                 {"behind", line.behind},
                                 {"pending_ms", line.pending_ms},
                                 {"ack_p99_ms", nullptr},
                                 {"sent_bytes_per_s", nullptr}};
  if (line.ack_p99_ms >= 0.0) json["ack_p99_ms"] = line.ack_p99_ms;
  if (line.sent_per_s) json["sent_bytes_per_s"] = *line.sent_per_s;
  return json;
}

class Watch {
 public:
  Watch(Session& session, const WatchQuery& query)
      : session_(session), query_(query), terminal_(isatty(STDOUT_FILENO) == 1) {}

  int run() {
    std::signal(SIGINT, ask_to_stop);
    std::signal(SIGTERM, ask_to_stop);
    while (true) {
      const double begun_ms = steady_ms();
      auto round = ask();
      if (!round && query_.once) return failed(round.error());
      told_.clear();
      const auto events = round ? events_.of(*round, steady_ms())
                                : events_.unanswered(round.error().message, steady_ms());
      for (const WatchEvent& event : events) note(event);
      session_.json() ? print_object(round ? &*round : nullptr)
                      : print_text(round ? &*round : nullptr);
      // A reader that is gone (| head) ends the watch like Ctrl-C.
      if (std::fflush(stdout) != 0 || stop_asked != 0) return kExitDone;
      if (query_.once) return round->verdict == Verdict::converged ? kExitDone : kExitNo;
      while (stop_asked == 0 && steady_ms() - begun_ms < query_.interval_ms) {
        session_.node().sleep_ms(std::min(kSleepMs, query_.interval_ms));
      }
      if (stop_asked != 0) return kExitDone;
    }
  }

 private:
  net::Result<WatchRound> ask() {
    auto report = session_.ask_all();
    if (!report) {
      turn_to_another();
      return report.error();
    }
    dead_ = report->dead;
    Baseline since = baseline_of(report->nodes);
    std::vector<WatchedNode> nodes = watched(*report);
    WatchRound round = watch_round(nodes, since);
    if (round.verdict != Verdict::converged) {
      session_.node().sleep_ms(kSettleMs);
      if (auto again = session_.ask_all()) {
        nodes = watched(*again);
        round = watch_round(nodes, since);
      }
    }
    rates_.add(nodes, steady_ms(), round);
    addresses_.clear();
    for (const WatchLine& line : round.nodes) {
      if (line.reached) addresses_.push_back(line.address);
    }
    return round;
  }

  // Any node can be asked about all; the one that was asked may be the one that died.
  void turn_to_another() {
    session_.forget(session_.address());
    if (addresses_.empty()) return;
    addresses_.push_back(std::move(addresses_.front()));
    addresses_.pop_front();
    session_.turn_to(addresses_.front());
  }

  void note(const WatchEvent& event) {
    told_.push_back(event);
    shown_.push_back(fmt::format("{}  {}", utc_now("%H:%M:%S"), event.text));
    if (terminal_ && shown_.size() > kEventsShown) shown_.pop_front();
  }

  void print_object(const WatchRound* round) {
    auto nodes = nlohmann::ordered_json::array();
    auto events = nlohmann::ordered_json::array();
    for (const WatchEvent& event : told_) {
      events.push_back({{"verdict", to_string(event.verdict)}, {"text", event.text}});
      if (event.lasted_ms) events.back()["lasted_ms"] = *event.lasted_ms;
    }
    const Verdict verdict = round == nullptr ? Verdict::unreached : round->verdict;
    nlohmann::ordered_json object = {{"at", utc_now("%Y-%m-%dT%H:%M:%SZ")},
                                     {"verdict", to_string(verdict)},
                                     {"converged", verdict == Verdict::converged}};
    if (round != nullptr) {
      for (const WatchLine& line : round->nodes) nodes.push_back(line_json(line));
      object["digest"] = fmt::format("{:016x}", round->digest);
      object["feeds"] = round->feeds;
      object["missing"] = round->missing;
    }
    object["nodes"] = nodes;
    object["dead"] = dead_json(round == nullptr ? std::vector<DeadNode>() : dead_);
    object["events"] = events;
    std::puts(object.dump().c_str());
  }

  void print_text(const WatchRound* round) {
    std::string text = terminal_ ? "\x1b[H\x1b[J" : "";
    if (round != nullptr) {
      text += headline(*round) + "\n" + table(*round, dead_);
    } else {
      text += "mesh: nobody answers\n";
    }
    if (terminal_ && !shown_.empty()) text += "\n";
    for (const std::string& event : shown_) text += "  " + wrapped(event, 12) + "\n";
    if (!terminal_) {
      shown_.clear();
      if (!query_.once) text += "\n";
    }
    std::fputs(text.c_str(), stdout);
  }

  static std::string table(const WatchRound& round, const std::vector<DeadNode>& dead) {
    TextTable table({{.title = "node", .shrink = 1},
                     {"ready"},
                     {"rings"},
                     {"registry"},
                     {"depth"},
                     {"behind", Align::right},
                     {"pending", Align::right},
                     {"ack p99", Align::right},
                     {"to peers", Align::right}});
    const auto same = [](bool agrees) { return agrees ? "·" : "≠"; };
    for (const WatchLine& line : round.nodes) {
      if (!line.reached) {
        table.add({line.name, "?", "?", "?", "?", "?", "?", "?", "NOT REACHED"});
        continue;
      }
      table.add({line.name, line.ready ? "yes" : "NO", same(line.rings_agree),
                 same(line.registry_agrees), same(line.depth_agrees),
                 line.behind == 0 ? "·" : count_text(line.behind),
                 line.pending_ms > 0.0 ? ms_text(line.pending_ms) : "·",
                 line.ack_p99_ms >= 0.0 ? ms_text(line.ack_p99_ms) : "-",
                 line.sent_per_s ? bytes_text(static_cast<std::uint64_t>(*line.sent_per_s)) + "/s"
                                 : "-"});
    }
    for (const DeadNode& node : dead) {
      table.add({node.name, "DEAD", "-", "-", "-", "-", "-", "-", "for " + ms_text(node.since_ms)});
    }
    return table.render();
  }

  Session& session_;
  const WatchQuery& query_;
  const bool terminal_;
  SendRates rates_;
  std::vector<DeadNode> dead_;  // as of this round
  WatchEvents events_;
  std::vector<WatchEvent> told_;   // of this round
  std::deque<std::string> shown_;  // on a terminal the last of all rounds
  std::deque<std::string> addresses_;
};

}  // namespace

int run_watch(Session& session, const WatchQuery& query) { return Watch(session, query).run(); }

}  // namespace dualmesh::node::ctl
