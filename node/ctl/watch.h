// What `dualmeshctl watch` shows of one round of asking all nodes, and what it tells of the change
// from round to round. Free of I/O.
//
// A mesh that is written to is never asked at one instant, so what counts as missing is what had
// been written when an earlier round was asked (convergence.h, Baseline): a node that merely has
// not yet heard of the last milliseconds is in step. Milliseconds are the writers' own: from a
// change until the node's acknowledgement, so no two clocks are compared.
//
// Invariant: a round is CONVERGED exactly when nothing is missing. Threads: values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "node/ctl/convergence.h"

namespace dualmesh::node::ctl {

// What a node says of one of its peers.
struct PeerReport {
  std::string peer;
  std::uint64_t bytes_sent = 0;
  double pending_ms = 0.0;   // age of the oldest change that the peer has not acknowledged
  double ack_p99_ms = -1.0;  // negative: none measured yet
};

struct WatchedNode {
  NodeReport report;
  std::vector<PeerReport> peers;
};

struct WatchLine {
  std::string name;
  std::string address;
  bool reached = false;
  std::string why_not;
  bool ready = false;
  std::string not_ready;
  bool rings_agree = false;  // with what most reached nodes hold
  bool registry_agrees = false;
  bool depth_agrees = false;
  std::uint64_t behind = 0;  // versions that are missing, and tables that differ
  double pending_ms = 0.0;   // over all writers the longest
  double ack_p99_ms = -1.0;
  std::optional<double> sent_per_s;  // bytes to all peers; nothing in the first round
};

struct WatchRound {
  Verdict verdict = Verdict::converged;
  std::uint64_t digest = 0;
  std::size_t feeds = 0;
  std::vector<std::string> missing;
  std::vector<WatchLine> nodes;
};

// `missing_since`: what must have arrived by now.
WatchRound watch_round(const std::vector<WatchedNode>& nodes, const Baseline& missing_since);
std::string headline(const WatchRound& round);

// Bytes per second from one round to the next.
class SendRates {
 public:
  void add(const std::vector<WatchedNode>& nodes, double now_ms, WatchRound& round);

 private:
  struct Seen {
    std::uint64_t epoch = 0;
    std::uint64_t bytes = 0;
    double at_ms = 0.0;
  };
  std::map<std::string, Seen> seen_;
};

struct WatchEvent {
  std::string text;
  Verdict verdict = Verdict::converged;
  std::optional<double> lasted_ms;  // how long the mesh was not converged, once it is again
};

// Who came, who went, and each change of the verdict.
class WatchEvents {
 public:
  std::vector<WatchEvent> of(const WatchRound& round, double now_ms);
  // A round in which nobody could be asked.
  std::vector<WatchEvent> unanswered(const std::string& why, double now_ms);

 private:
  void changed_to(Verdict verdict, const std::string& what, double now_ms,
                  std::vector<WatchEvent>& out);

  bool first_ = true;
  Verdict verdict_ = Verdict::converged;
  double apart_since_ms_ = 0.0;
  std::set<std::string> names_;
};

}  // namespace dualmesh::node::ctl
