// What KvExchange keeps: of each stream, of each peer, and of each peer's word on each stream.
//
// Threads: none; the ingest thread's.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "node/kv/kv_codec.h"
#include "node/kv/kv_exchange.h"
#include "node/kv/kv_observers.h"
#include "node/kv/kv_state_fetch.h"

namespace dualmesh::node {

using policies::Time;

// How long an acknowledgement waits for more to acknowledge, and how often at most one is asked.
inline constexpr policies::Duration kAckEvery = std::chrono::milliseconds(200);
inline constexpr policies::Duration kAskEvery = std::chrono::milliseconds(250);
// A peer from which a state was of no use is not asked for that stream again for so long.
inline constexpr policies::Duration kAvoidFor = std::chrono::seconds(3);
// Who is able is told again with so many comparisons after it changed.
inline constexpr int kTellAgain = 10;
// Who has said nothing for so long since we met cannot be heard.
inline constexpr policies::Duration kHearWithin = std::chrono::seconds(10);
// A life that has just begun is pushed whole; nobody need fetch it at once.
inline constexpr std::uint64_t kYoungSteps = 100;
// Who pushes in place of another cannot see whether that one does again, so it stops after so many
// times `takeover_after` and looks.
inline constexpr int kTakeoverLasts = 4;
// A complete copy waits so many times `takeover_after` for the batch by which it can tell whether a
// greater name, of a copy that lost its beginning, is of its own life.
inline constexpr int kGivesWayAfter = 10;
// An observer hears the engine itself: it is pushed to when it has stood still for so many times
// `takeover_after`, and then for kTakeoverLasts times.
inline constexpr int kObserverStill = 2;
// So many observers watch whether others get on, and say how far they are themselves.
inline constexpr std::uint32_t kMaxWatchers = 4;
inline constexpr Time kNever{INT64_MIN / 2};

// A peer's word on a stream, and what we have still to say to it.
struct Said {
  bool known = false;  // it has said something
  StreamPosition position;
  bool reaches = true, flooded = false, unheard = false;
  bool fetch_it = false;    // its log does not reach back to us
  std::uint64_t round = 0;  // of its list of all, where it was last named

  crdt::Epoch sent_epoch;  // pushed up to `sent` of that life, perhaps still under way
  crdt::Version sent;
  Time sent_at = kNever;
  bool fresh = false;     // nobody else has pushed since its word, as far as we know
  bool takeover = false;  // we push in place of the first observer
  Time takeover_at = kNever;
  Time helped_until = kNever;  // it observes and has stood still
  std::optional<Time> behind_since;
  Time answered_at = kNever;

  bool listed = false;  // in Peer::due
  bool head_due = false, ack_wanted = false, ack_due = false, ask_due = false;
  Time head_at = kNever, ack_at = kNever, asked_at = kNever;
  Time avoid_until = kNever;
};

struct Peer {
  KvPeer life;
  Time awaited_since{};    // its list of all; anew with each stream that is new
  std::vector<Said> said;  // by slot
  std::vector<std::uint32_t> due;
  bool spoke = false, mute = false;    // has said something; seems unable to
  bool heard = false;                  // all that it has
  std::uint64_t round = 0, parts = 0;  // of its list of all: parts heard in order
  bool ask_all = true;                 // for its list, with ours
  Time ask_all_at = kNever;
  bool all_due = true;  // our list
  Time all_at = kNever;
  std::uint32_t all_next = 0, all_part = 0;
  std::uint64_t all_round = 0;
  bool summary_due = false;
  std::map<StreamName, KvFetch> asked_of_us;
};

struct StreamHere {
  StreamKey key;
  StreamName name = 0;
  StreamPosition position;
  bool flooded = false;
  LifeName life = 0;
  bool reaches = true, unheard = false;
  Time moved_at{};
  Time tell_until{};  // whether it reaches the engine, has room: a message may be lost
  std::vector<crdt::NodeId> order;  // all nodes but the mute, the first observer first
  std::optional<KvStateFetch> fetch;
  std::optional<Time> newer_since;  // a greater epoch is known
  std::optional<Time> behind_since;
};

struct KvExchange::State {
  State(KvState& state, crdt::NodeId node, KvExchangeSettings exchange_settings)
      : kv(state), self(node), settings(exchange_settings), cuts(state) {}

  // kv_exchange.cc: peers, streams and ranks.
  void sync(Time now);
  void take_streams(Time now);
  void moved(std::size_t slot, Time now);
  bool rename_if_same(std::size_t slot, const StreamPosition& theirs);
  void learn_away(std::size_t slot, const StreamPosition& theirs);
  void spread_away(std::size_t slot, crdt::Version before);
  void rebuild_lives();
  void place_observers();
  void rank();  // anew: who is able has changed
  void rank_if_due() {
    if (std::exchange(rank_due, false)) rank();
  }
  void repeat_heads(Time now);
  std::size_t rank_of(const StreamHere& stream, crdt::NodeId node) const;
  bool pushes(std::size_t slot, const Said& said) const {
    return streams[slot].order.front() == self || said.takeover;
  }
  bool hears_itself(Peer& peer, std::size_t slot, Time now) const;
  bool is_life_known(std::size_t slot, const Said& said) const;
  void due(Peer& peer, std::size_t slot);
  void heads_to_all(std::size_t slot);
  Said* said_of(crdt::NodeId node, std::size_t slot);
  bool is_able(crdt::NodeId node, std::size_t slot);  // reaches the engine, and has room

  // kv_exchange_receive.cc
  std::uint64_t most_epoch() const;
  void receive(Peer& from, const KvSummary& summary, Time now);
  void receive(Peer& from, const KvHeads& heads, Time now);
  void receive(Peer& from, const KvEnds& ends, Time now);
  void receive(Peer& from, const KvChanges& changes, Time now);
  void receive(Peer& from, const KvFetch& fetch, Time now);
  void receive(Peer& from, KvPiece& piece, Time now);
  void receive(Peer& from, const KvSameLife& same, Time now);
  void head(Peer& from, std::size_t slot, const KvHead& head, Time now);
  void end_said(Peer& from, std::size_t slot, crdt::Version end, Time now);
  void list_heard(Peer& from, const KvHeads& heads, Time now);
  bool resolve(std::size_t slot, KvChanges& changes) const;
  void contradiction(std::size_t slot, crdt::NodeId other);

  // kv_exchange_send.cc
  std::uint64_t summary(Time now) const;
  KvHead head_of(std::size_t slot) const;
  void write_all(Peer& to, std::string& message, Time now);
  void write_due(Peer& to, std::string& message, Time now);
  struct Saying {  // what goes into one section of each kind
    KvHeads heads, asking_heads{.answer = true};
    KvEnds ends, asking_ends{.answer = true};
  };
  void say(Peer& to, std::size_t slot, Saying& saying, std::string& message, Time now);
  void push(Peer& to, std::size_t slot, Saying& saying, std::string& message, Time now);
  void say_head(Said& said, std::size_t slot, bool fetch_me, Saying& saying, Time now);
  void shorten(std::size_t slot, KvChanges& changes) const;
  void write_piece_for(Peer& to, std::string& message, Time now);

  // kv_exchange_upkeep.cc
  void tick_peer(Peer& peer, Time now);
  void tick_stream(Peer& peer, std::size_t slot, Time now);
  void tick_fetches(Time now);
  enum class Need : std::uint8_t { nothing, soon, now };
  Need need(const StreamHere& stream, const Said& said, Time now) const;
  void start_fetches(Time now);
  void finish_fetch(std::size_t slot, Time now);
  void fail_fetch(std::size_t slot, Time now);

  KvState& kv;
  const crdt::NodeId self;
  const KvExchangeSettings settings;
  KvExchangeCounters counters;
  bool rank_due = false;  // all streams at once, however many heads say so
  KvCuts cuts;
  KvObservers observers;
  std::vector<StreamHere> streams;
  std::map<StreamKey, std::size_t> slots;
  boost::unordered_flat_map<StreamName, std::size_t> by_name;
  boost::unordered_flat_map<LifeName, std::size_t> by_life;  // those that only one stream has
  std::map<crdt::NodeId, Peer> peers;
  std::uint64_t generation = 0;
  std::uint64_t rounds = 0;
  Time next_compare{};
  Time last_now{};
};

}  // namespace dualmesh::node
