// KvStream: one subscription to one engine rank, as a state machine without sockets or clock.
//
//   connected -> replay from where the mesh is (from 0 if nobody knows the stream), live batches held
//   -> replay over -> the held ones, each once -> live
//
// Batches are delivered in order, each once. A gap is replayed; what replay no longer has is said
// with the delivery (its `from` is not the end of the one before). A sequence that goes back, or a
// batch that the engine now says differently from what the mesh remembers (its digest), is another
// life of the engine: a new epoch. A batch that does not decode still counts as a step.
//
// Whether a late subscriber may begin an epoch of its own: only once the mesh has answered
// (`mesh_known`), so that a node that starts never replaces what others know (kv_types.h has the rule
// of epochs). With replay from 0 it need not wait: the epoch is then the engine's own.
//
// Invariant: memory is bounded: at most `max_held` live batches are kept during a replay; beyond it
// the oldest go and a gap is said. Sequence numbers beyond 2^62 are refused.
// Threads: none. Time is an argument. Source: engine behaviour as observed of vLLM and SGLang:
// PUB/SUB without history, replay from a bounded buffer, no word of a restart.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "node/kv/kv_types.h"

namespace dualmesh::node {

inline constexpr std::uint64_t kNoSequence = UINT64_MAX;

struct RawBatch {
  std::uint64_t sequence = 0;
  std::string payload;
};

// What the machine wants done, in this order.
struct StreamWants {
  struct Deliver {
    crdt::Epoch epoch;
    crdt::Version from;   // the step before the first of these is `from`, unless steps are lost
    RawBatch batch;       // step = sequence + 1
    std::uint64_t digest = 0;  // batch_digest of it
  };
  std::vector<Deliver> deliver;
  std::optional<std::uint64_t> replay_from;  // ask the engine from this sequence on
  bool reconnect = false;                    // the subscription is of no use: connect anew
};

struct StreamCounters {
  std::uint64_t batches = 0;
  std::uint64_t bytes = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t gaps = 0;            // sequence numbers missing when seen live
  std::uint64_t lost = 0;            // of them, not to be had by replay
  std::uint64_t replays = 0;
  std::uint64_t replays_failed = 0;  // timed out or broken off
  std::uint64_t restarts = 0;        // lives of the engine after the first
  std::uint64_t reconnects = 0;
  std::uint64_t absurd = 0;          // sequence numbers or frames no engine sends
};

struct StreamSettings {
  bool has_replay = false;
  policies::Duration replay_timeout = std::chrono::seconds(10);
  std::size_t max_held = 100'000;
};

// Digest by which nodes recognise one batch of one life: its bytes, time stamp included.
std::uint64_t batch_digest(std::uint64_t sequence, std::string_view payload);

class KvStream {
 public:
  explicit KvStream(StreamSettings settings) : settings_(settings) {}

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
  bool caught_up() const;  // connected, and no replay under way or wanted
  const StreamCounters& counters() const { return counters_; }

 private:
  StreamSettings settings_;
  bool connected_ = false;
  StreamCounters counters_;
  // ... state as the machine needs it
};

}  // namespace dualmesh::node
