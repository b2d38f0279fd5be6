// KvExchange: how nodes bring each other's KvState up to date, as messages of bytes.
//
// Each stream is observed by the `observers` first of the nodes that live and can reach its engine,
// as KvObservers says; the first of them pushes, to the others only when they stand still; these
// push as well what the mesh seems not to get from it for `takeover_after`. Whoever finds itself
// behind by more than the pusher's log fetches the state, piece by piece, from a node that has
// more. Messages may be lost, doubled, late or reordered; each is a statement of what the sender
// has, so nothing is undone by one that is old.
//
//   changes   stream, epoch, (from, to], facts, digest of the last batch, changes
//   heads     stream, position: what the sender has, and where the instance was away; all of them
//             at the comparison, once a second and when a peer is met; those that moved, as
//             acknowledgement. Says whether the sender reaches the engine, hears anything by its
//             subscription (unheard), has given the stream up (flooded), and whether its log does
//             not go back to where the receiver is (fetch_me)
//   fetch     stream, epoch, cut, offset
//   piece     stream, position, facts, cut, offset, total, entries
//
// Rules. A greater epoch replaces, except where the position shows the same life (equal end, equal
// digest of that batch): then the complete copy is renamed (KvState::rename). Within an epoch the
// greater end is worth more, then completeness, then fewer unknown blocks. Equal (base, end) with
// unequal digests is counted as a contradiction, never normal.
//
// Invariant: at most one fetch is under way per stream and `max_fetches` in all; per peer at most
// `max_outbox_bytes` wait, whatever is to be said (a set of streams, not a queue).
// Threads: none; the ingest thread's. Time is an argument; the wire is opaque to the mesh.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/kv/kv_state.h"

namespace dualmesh::node {

struct KvExchangeSettings {
  std::uint32_t observers = 2;  // per stream; kAllObservers: every node
  policies::Duration compare_interval = std::chrono::seconds(1);
  policies::Duration takeover_after = std::chrono::milliseconds(500);
  policies::Duration fetch_timeout = std::chrono::seconds(3);
  std::size_t max_message_bytes = 1 << 20;
  std::size_t max_fetches = 4;
  // The wall clock in microseconds since 1970, as epochs are; empty: none. What peers say of lives
  // later than kLatestLife after it is refused: no engine could begin one that counts for more.
  std::function<std::uint64_t()> wall_us = {};
};
inline constexpr std::chrono::microseconds kLatestLife = std::chrono::hours(24);
inline constexpr std::uint32_t kAllObservers = UINT32_MAX;

struct KvPeer {
  crdt::NodeId node;
  crdt::Epoch epoch;  // of its life
  bool operator==(const KvPeer&) const = default;
};

struct KvExchangeCounters {
  std::uint64_t messages_sent = 0, bytes_sent = 0, messages_received = 0, bytes_received = 0;
  std::uint64_t changes_sent = 0, changes_received = 0;  // block changes
  std::uint64_t fetches = 0, fetches_failed = 0, pieces_sent = 0;
  std::uint64_t takeovers = 0;  // pushed in place of a pusher that stood still
  std::uint64_t renamed = 0;
  std::uint64_t contradictions = 0;  // equal bounds, unequal digests
  std::uint64_t malformed = 0;       // messages that no node sends
  std::uint64_t absurd = 0;          // entries with an epoch or a step that is not believed
  std::uint64_t spoilt = 0;          // states that came otherwise than they were announced
};

class KvExchange {
 public:
  KvExchange(KvState& state, crdt::NodeId self, KvExchangeSettings settings);
  ~KvExchange();

  void set_peers(std::span<const KvPeer> living, policies::Time now);
  // This node's subscription: whether it could reach the engine of late. Rank and pushing follow.
  void reaches(const StreamKey& stream, bool reached, policies::Time now);
  // Likewise: whether it brings anything (KvStream::unheard). Nothing but what is told follows.
  void hears(const StreamKey& stream, bool heard, policies::Time now);
  // Is this node among the observers now?
  bool observes(const StreamKey& stream) const;
  std::vector<crdt::NodeId> observers(const StreamKey& stream) const;  // the first pushes
  // Does an observer reach the engine, and has room for what it says, as far as is known? False
  // once all have failed to.
  bool reached(const StreamKey& stream) const;
  // By an observer that reaches the engine; true as well where none does.
  bool heard(const StreamKey& stream) const;

  void received(crdt::NodeId from, std::string_view message, policies::Time now);
  // The next message for `to`; empty: nothing. Called when the link is free, at the mesh's pace.
  std::string take(crdt::NodeId to, policies::Time now);
  bool has_message(crdt::NodeId to, policies::Time now) const;
  void tick(policies::Time now);

  // Has every living peer said all it has, or was everybody heard who could be? Then an unknown
  // stream is unknown to the mesh.
  bool mesh_known() const;
  // Streams of which some living node has said more than we hold; what a joining node waits for.
  std::vector<StreamKey> lacking() const;
  std::optional<StreamPosition> said_by(crdt::NodeId node, const StreamKey& stream) const;
  const KvExchangeCounters& counters() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::node
