// Replicator: pushes what one peer has not acknowledged, at most one push at a time.
//
// What waits for a slow peer is the difference between our versions and its acknowledged ones: a
// set of changed keys, never a queue. A first change goes at once, a sustained stream of them at
// an interval growing to flush_interval_ms (Pacer), and what is slight with the next push or four
// such intervals after the last; a push is cut at max_push_bytes and the next one continues it
// without waiting. The answer's positions are the acknowledgement: higher ones advance, lower ones
// (the peer lost our column, or we began a new epoch) make the next push start there.
//
// Tables: what was written here goes at once, and membership whoever wrote it. What others wrote
// they send themselves; it is forwarded only when the peer's digests go on to differ for a while,
// because its writer died, or cannot reach the peer. So a change crosses each link once, and k
// nodes that were cut off together do not each send all that the k have written.
//
// Lag is measured by the writer alone: from the first change of a push to its acknowledgement; of
// what had to wait for a link, from when the link was up. How long that took is `pending_ms`.
//
// Threads: kj; the mesh thread's.
// Source: mosh's state synchronisation (diffs against the acknowledged state, conflation).
#pragma once

#include <kj/async.h>

#include <array>
#include <functional>
#include <optional>
#include <string>

#include "net/mesh.capnp.h"
#include "node/mesh/latency_histogram.h"
#include "node/mesh/mesh_context.h"
#include "node/mesh/pacer.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

using StreamBytes = std::array<std::uint64_t, net::kStreamKinds>;  // in the order of StreamKind

struct ReplicatorStats {
  std::uint64_t pushes = 0;
  std::uint64_t bytes_sent = 0;
  StreamBytes stream_bytes_sent{};   // the same by kind, relayed feeds included
  std::uint64_t snapshots = 0;       // deltas that began at version 0
  std::uint64_t resets = 0;          // the peer was behind what it had acknowledged, or new
  std::uint64_t refused_deltas = 0;  // sent, but not applied
  std::uint64_t failures = 0;        // pushes that ended in an error or a timeout
  LatencyHistogram ack;
};

class Replicator final : private kj::TaskSet::ErrorHandler {
 public:
  using OnAnswer = std::function<void()>;
  using OnFailure = std::function<void(const std::string&)>;
  Replicator(MeshContext& context, const SharedState& state, crdt::NodeId peer, OnAnswer on_answer,
             OnFailure on_failure);

  void attach(wire::Peer::Client peer);  // the link is up; continues from what was acknowledged
  void detach();
  void state_changed(Urgency urgency = Urgency::paced);
  // A position of one of our own streams, as the peer told it outside of a push. Only a lower one
  // than was acknowledged is news: the peer has lost a column since.
  void peer_is_at(const net::StreamPosition& position);
  void peer_holds(const net::FeedPositions& held);  // our feeds
  // The peer holds other rows in a table than we do although it acknowledged all: sends them again.
  void repair(net::StreamKind table);
  // While a peer is joining, as it says itself, it gets everything at once, whoever wrote it.
  void peer_joins(bool joining);
  // One digest over registry, settings and depth as the peer holds them, with each ping.
  void peer_tables(std::uint64_t digest);
  void retry_held();  // tables of which the peer took nothing; otherwise every few seconds
  bool holds(net::StreamKind table) const { return held_[static_cast<std::size_t>(table)]; }
  void start_over();  // acknowledged nothing: a new life of the peer or of ours
  // The writers that do not reach the peer, and how far it has their feeds: our copies of them go
  // to it with our own.
  void relay(const std::vector<net::FeedPositions>& writers);
  bool relays(crdt::NodeId writer) const { return relayed_.contains(writer); }
  const RelayedWriters& relayed() const { return relayed_; }

  const Acknowledged& acknowledged() const { return acknowledged_; }
  const ReplicatorStats& stats() const { return stats_; }
  double pending_ms() const;  // age of the oldest change not acknowledged; 0 = in step
  bool in_step() const { return !state_.has_news(acknowledged_, choice_); }

 private:
  struct Sent {
    SharedState::Batch batch;
    TableChoice choice;
    policies::Time first_change{0};
  };

  Acknowledged to_send_after() const;  // what is acknowledged, or held back
  Acknowledged* acknowledged_of(crdt::Origin writer);
  void repeated(net::StreamKind table, crdt::Version to, bool complete);
  void schedule();
  void push();
  void retry_later();
  void answered(const Sent& sent, const std::vector<net::StreamPosition>& positions);
  void failed(const std::string& reason);
  void taskFailed(kj::Exception&& exception) override;

  MeshContext& context_;
  const SharedState& state_;
  OnAnswer on_answer_;
  OnFailure on_failure_;
  kj::Maybe<wire::Peer::Client> peer_;
  // The last answer: that it is done with goes to the peer along with the next push, which wakes it
  // anyway.
  kj::Maybe<capnp::Response<wire::Peer::PushResults>> last_answer_;
  Acknowledged acknowledged_;
  RelayedWriters relayed_;
  TableChoice choice_;
  std::array<crdt::Version, kTables> confirmed_{};  // up to here the peer holds what others wrote
  std::optional<policies::Time> differs_since_;     // its tables
  policies::Duration patience_;                     // before others' words are forwarded
  Pacer pacer_;
  ReplicatorStats stats_;
  std::optional<policies::Time> dirty_since_;        // of changes in no push yet
  std::optional<policies::Time> in_flight_since_;    // of those in the push under way
  std::array<bool, net::kStreamKinds> in_flight_{};  // the streams of the push under way
  // Tables refused for their stamps, by a peer whose clock is behind: not sent with every push but
  // after kRetryMin to kRetryMax, until it takes them.
  std::array<bool, net::kStreamKinds> held_{};
  bool retrying_ = false;             // they go with the next push
  bool retry_waiting_ = false;        // a timer is set
  policies::Time not_before_{0};      // after a push that moved nothing
  policies::Time attached_at_{0};
  std::uint64_t attachment_ = 0;      // answers of an earlier link are ignored
  std::optional<policies::Time> waiting_until_;  // a timer is set
  Urgency urgency_ = Urgency::slight;            // of the changes in no push yet
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::node
