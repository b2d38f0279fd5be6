// KvStream: one subscription to one engine rank, as a state machine without sockets or clock.
//
//   connected -> replay from the last batch the mesh knows (from 0 if nobody knows the stream),
//   live batches held -> replay over -> the held ones, each once -> live
//
// Batches are delivered in order, each once. A gap is replayed; what replay no longer has is said
// with the delivery (its `from` is not the end of the one before). A sequence that goes back, or a
// batch that the engine now says differently from what is remembered (its digest), is another life
// of the engine: a new epoch. A batch that does not decode still counts as a step.
//
// Every replay begins at the last batch known, so that it tells at once whether the engine is still
// in the same life. That cannot be told where the buffer has rolled past that batch, or where there
// is no replay: then a higher sequence is taken for the same life.
//
// Whether a late subscriber may begin an epoch of its own: only once the mesh has answered
// (`mesh_known`), so that a node that starts never replaces what others know (kv_types.h has the
// rule of epochs). With batch 0 in hand it need not wait: the epoch is then the engine's own.
//
// What was held meanwhile and is of another life than what was replayed is dropped, and the engine
// is asked once more.
//
// An engine that falls silent may have lost its last batches on the way, or its successor may not
// have been heard: after `tail` a replay looks, and again wherever there was news; else after twice
// the pause before, up to `quiet`. What later looks find and the subscription does not bring, again
// and again, shows that it is of no use: another topic, say, or another engine's replay.
//
// Where batches are known and a replay that has brought some before brings none, from 0 on neither,
// the engine has begun another life and said nothing in it: an empty life begins, by the epoch that
// follows the last, so that all who see it say the same. The engine's batch 0 names it as ever. A
// replay that never brought anything may keep nothing, so it is tried with the first batch; one
// that does not answer says nothing.
//
// Invariant: memory is bounded: at most `max_held` live batches and `max_held_bytes` are kept;
// beyond it the oldest go and a gap is said. Sequence numbers from 2^62 on are refused. New lives
// are taken at no more than kBurst at once and one per kRefill after, so two engines behind one
// address cannot make the mesh forget at their pace. Threads: none. Time is an argument. Source:
// engine behaviour as observed of vLLM and SGLang: PUB/SUB without history, replay from a bounded
// buffer, no word of a restart.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/kv/kv_types.h"

namespace dualmesh::node {

inline constexpr std::uint64_t kNoSequence = UINT64_MAX;  // of what was no batch at all
inline constexpr std::uint64_t kSequences = std::uint64_t{1} << 62;

struct RawBatch {
  std::uint64_t sequence = 0;
  std::string payload;
  bool operator==(const RawBatch&) const = default;
};

// What the machine wants done, in this order.
struct StreamWants {
  struct Deliver {
    crdt::Epoch epoch;
    crdt::Version from;  // the step before the first of these is `from`, unless steps are lost
    RawBatch batch;      // step = sequence + 1
    std::uint64_t digest = 0;  // batch_digest of it
  };
  std::vector<Deliver> deliver;
  std::optional<crdt::Epoch> begun;          // a life in which nothing has been said
  std::optional<std::uint64_t> replay_from;  // ask the engine from this sequence on
  bool reconnect = false;                    // the subscription is of no use: connect anew
};

struct StreamCounters {
  std::uint64_t batches = 0;
  std::uint64_t live = 0;  // of them, those that the subscription brought
  std::uint64_t bytes = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t gaps = 0;  // sequence numbers missing when seen live
  std::uint64_t lost = 0;  // of them, not to be had by replay
  std::uint64_t replays = 0;
  std::uint64_t replays_failed = 0;  // timed out or broken off
  std::uint64_t restarts = 0;        // lives of the engine after the first
  std::uint64_t reconnects = 0;
  std::uint64_t absurd = 0;  // sequence numbers or frames no engine sends
};

// An engine's clock that is further ahead names no life: other nodes would not believe it, and
// their clocks may be a little behind (kv_exchange.h: kLatestLife).
inline constexpr std::chrono::microseconds kEngineAhead = std::chrono::hours(12);

struct StreamSettings {
  bool has_replay = false;
  policies::Duration replay_timeout = std::chrono::seconds(10);  // without any progress
  std::size_t max_held = 100'000;
  std::size_t max_held_bytes = std::size_t{64} << 20;
  // First look, as a subscription begins late; and how long a look without an answer keeps waiting
  // what comes meanwhile.
  policies::Duration settle = std::chrono::seconds(1);
  policies::Duration tail = std::chrono::seconds(2);    // without a batch, until a replay looks
  policies::Duration quiet = std::chrono::seconds(30);  // the longest pause until it looks again
  std::function<std::uint64_t()> wall_us = {};  // microseconds since 1970; empty: none
};

// Digest by which nodes recognise one batch of one life: its bytes, time stamp included.
std::uint64_t batch_digest(std::uint64_t sequence, std::string_view payload);

// The batch's time stamp in microseconds since 1970; 0 if it has none that can be believed.
std::uint64_t batch_stamp_us(std::string_view payload);

// Allows `kBurst` at once, and one more per kRefill.
class RestartBudget {
 public:
  static constexpr std::uint32_t kBurst = 16;
  static constexpr policies::Duration kRefill = std::chrono::seconds(10);
  bool take(policies::Time now);
  bool has(policies::Time now);

 private:
  std::uint32_t left_ = kBurst;
  policies::Time refilled_{0};
};

class KvStream {
 public:
  explicit KvStream(StreamSettings settings)
      : settings_(settings), reconnect_after_(kReconnectAfter) {}

  // What the mesh knows of this stream: whenever that changes by others' doing, and once at least
  // before a subscription without full history may begin one of its own.
  void mesh_known(const StreamPosition& position, StreamWants& wants);
  void connected(policies::Time now, StreamWants& wants);  // also again
  void disconnected(policies::Time now);
  void live(RawBatch batch, policies::Time now, StreamWants& wants);
  void replayed(RawBatch batch, policies::Time now, StreamWants& wants);
  void replay_over(policies::Time now, StreamWants& wants);
  void tick(policies::Time now, StreamWants& wants);  // time-outs

  bool is_connected() const { return connected_; }
  // Connected, surely to the life that is known, no replay under way or wanted but for a look, and
  // no batch waiting for it.
  bool caught_up() const;
  // Batches that looks have brought, one after the other, and the subscription none meanwhile: it
  // is there, and of no use. 0: there is no reason to think so.
  std::uint64_t unheard() const;
  bool replay_answers() const { return !replay_useless_; }  // when it was asked last
  // How long it has been silent, while one is under way.
  policies::Duration replay_silent(policies::Time now) const;
  const StreamCounters& counters() const { return counters_; }

 private:
  // Silent subscriptions whose looks found something, until the subscription is made anew.
  static constexpr std::uint32_t kReconnectAfter = 3;

  enum class Phase : std::uint8_t { apart, waiting_for_mesh, replaying, live };
  // What a replay is for: a stream nobody knows; is it the same life, and what came since; the rest
  // after a hole; the life after a restart.
  enum class Replay : std::uint8_t { begin, verify, onward, anew };
  enum class Gap : std::uint8_t { replay, accept };

  struct Life {
    crdt::Epoch epoch;
    std::uint64_t next = 0;            // the sequence that follows what is known
    std::deque<std::uint64_t> recent;  // digests of the batches just before `next`; 0: not known
    bool is_unnamed = false;           // nothing has been said in it: batch 0 will name it
    // 0: not known.
    std::uint64_t digest_of(std::uint64_t sequence) const;
  };

  void take_newest();
  void other_epoch(const StreamPosition& position, StreamWants& wants);
  void synchronise(StreamWants& wants);
  void ask(Replay kind, std::uint64_t from, StreamWants& wants);
  bool ask_again_at_hole(StreamWants& wants);
  void verify(RawBatch batch, StreamWants& wants);
  void onward(RawBatch batch, StreamWants& wants);
  void finish(Gap gap, StreamWants& wants);
  void failed(StreamWants& wants);
  bool contradicts_replay(const RawBatch& batch) const;
  bool looks_in_vain() const;
  void part();
  void look_if_quiet(StreamWants& wants);
  void try_replay(StreamWants& wants);

  void hold(RawBatch batch, StreamWants& wants);
  void drop_held();
  void place(RawBatch batch, Gap gap, StreamWants& wants);
  void place_first(RawBatch batch, Gap gap, StreamWants& wants);
  void place_untied(RawBatch batch, Gap gap, StreamWants& wants);
  void place_lower(RawBatch batch, StreamWants& wants);
  std::uint64_t life_stamp_us(std::string_view payload) const;  // 0: it names no life
  void begin(RawBatch batch, StreamWants& wants);
  void begin_anew(RawBatch batch, StreamWants& wants);
  void begin_anew_from_held(StreamWants& wants);
  void begin_empty(StreamWants& wants);
  void deliver(RawBatch batch, StreamWants& wants);
  void compare_with_foreign(std::uint64_t sequence, std::uint64_t digest);
  bool absurd(const RawBatch& batch);

  StreamSettings settings_;
  StreamCounters counters_;
  policies::Time now_{0};
  Phase phase_ = Phase::apart;
  bool connected_ = false;
  bool was_connected_ = false;
  std::optional<StreamPosition> mesh_;  // the last said
  std::optional<Life> life_;
  std::optional<StreamPosition> foreign_;  // of a greater epoch, not yet compared with what we hear
  // Is what this connection says of the life that is known?
  bool tied_ = false;
  bool must_begin_ = false;   // the next batch begins another life
  bool restart_due_ = false;  // found, and the budget has to allow it
  RestartBudget restarts_;

  Replay replay_ = Replay::begin;
  policies::Time progress_at_{0};
  bool certain_ = false;         // `anew`: the engine has said that it is another life
  bool answered_ = false;        // something of use was replayed
  bool replay_useless_ = false;  // the last one failed
  bool replay_keeps_ = false;    // one has brought batches
  bool replay_tried_ = false;    // on this connection, with a batch that it should bring
  bool quiet_ = false;           // it only looks
  bool tied_before_look_ = false;
  std::uint32_t asked_again_ = 0;
  std::uint64_t hole_ = kNoSequence;  // last asked again for
  std::uint64_t replayed_stamp_ = 0;  // of the last batch that a replay brought; 0: not known
  policies::Time look_at_{0};
  policies::Duration pause_ = settings_.tail;  // after the next look, if that brings no news
  bool settled_ = false;
  std::uint32_t found_by_looking_ = 0;  // in a row, without a live batch between
  std::uint32_t reconnect_after_;       // so many; more where a new connection was no better
  // What looks have found since the subscription brought something. The first of a connection does
  // not count: a subscription begins a little after it.
  bool has_looked_ = false, late_look_ = false, late_found_ = false;
  std::uint64_t unheard_batches_ = 0;
  std::uint32_t unheard_looks_ = 0;

  std::deque<RawBatch> held_;
  std::size_t held_bytes_ = 0;
  std::optional<policies::Time> undecided_since_;  // lower ones are held
};

}  // namespace dualmesh::node
