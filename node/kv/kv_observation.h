// KvObservation: one engine's stream as this node hears it itself, from batches to changes.
//
//   KvStream (order, gaps, lives) -> decoder -> KvTranslator (keys) -> KvState::observed
//
// Threads: none; the ingest thread's. Time is an argument.
#pragma once

#include <optional>
#include <string>

#include "node/kv/engine_batch.h"
#include "node/kv/kv_state.h"
#include "node/kv/kv_stream.h"
#include "node/kv/kv_translator.h"

namespace dualmesh::node {

class KvObservation {
 public:
  // What the subscription has to do next.
  struct Orders {
    std::optional<std::uint64_t> replay_from;
    bool reconnect = false;
  };

  KvObservation(KvState& state, StreamKey stream, StreamSettings settings)
      : state_(state), stream_(std::move(stream)), machine_(settings) {}

  Orders mesh_known(const StreamPosition& position);
  Orders connected(policies::Time now);
  void disconnected(policies::Time now);
  Orders live(RawBatch batch, policies::Time now);
  Orders replayed(RawBatch batch, policies::Time now);
  Orders replay_over(policies::Time now);
  Orders tick(policies::Time now);

  const KvStream& machine() const { return machine_; }
  const KvTranslator& translator() const { return translator_; }
  std::uint64_t changes() const { return changes_; }
  std::uint64_t refused_batches() const { return refused_batches_; }
  std::int64_t said_rank() const { return said_rank_; }  // by the engine; -1: it says none
  const std::string& last_refusal() const { return last_refusal_; }

 private:
  Orders carry_out();
  void take(const StreamWants::Deliver& delivered);
  void note_issues(std::uint64_t sequence);

  KvState& state_;
  const StreamKey stream_;
  KvStream machine_;
  KvTranslator translator_;
  crdt::Epoch epoch_;  // of the batch delivered last
  EngineBatch batch_;
  std::vector<BlockChange> changed_;
  StreamWants wants_;
  std::uint64_t changes_ = 0;
  std::uint64_t refused_batches_ = 0;
  std::int64_t said_rank_ = -1;
  std::string last_refusal_;
  IssueCounts issues_{};  // seen so far
};

}  // namespace dualmesh::node
