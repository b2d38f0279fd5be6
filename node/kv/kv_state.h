// KvState: every stream this node knows, their blocks in the index, and recent changes to pass on.
//
//   engine batches (KvStream, KvTranslator) -> observed() --+
//   deltas and states of other nodes (KvExchange) ----------+-> BlockMap -> BlockIndex
//                                                           +-> ChangeLog -> KvExchange
//
// Invariants: the index holds the present, known blocks of all maps up to its depth limit, that
// falls first when room gets scarce. A stream of which more than `max_stream_blocks` are held is
// given up; when all together exceed `max_blocks`, the one that grew, if it has more than its
// share, else the largest. Its map is emptied, it says so (flooded), follows the stream's end and
// holds nothing more of that epoch, until the engine clears its cache or somebody has a state of
// half the size; so memory is bounded whatever engines or peers send. A stream that begins anew
// does so under another cache id.
// Threads: none; the ingest thread's. Readers use index() alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "node/kv/change_log.h"
#include "node/kv/kv_types.h"
#include "policies/index/removal_marks.h"

namespace dualmesh::node {

struct KvLimits {
  std::size_t max_blocks = 16'000'000;        // of all streams; in the index an eighth less
  std::size_t max_stream_blocks = 4'000'000;  // of one
  std::size_t log_changes = 16'384;           // recent changes kept per stream, to pass on
};

// Batches first..last of one engine's life, in order, with their net changes.
struct ObservedBatches {
  crdt::Epoch epoch;
  crdt::Version from, to;  // (from, to]; from == end of the stream, or it begins anew after a gap
  std::span<const BlockChange> changes;
  std::uint64_t last_batch = 0;  // digest of the batch at `to`
  StreamFacts facts;
};

enum class Taken : std::uint8_t {
  changed,
  nothing_new,
  gap,      // does not join on: ask for the state
  older,    // of an earlier epoch
  refused,  // malformed, or the stream is given up
};

// A state frozen to be sent in pieces; shared by all who ask meanwhile.
struct StreamCut {
  StreamPosition position;
  StreamFacts facts;
  std::vector<std::pair<EngineHash, BlockMap::Entry>> entries;
};

class KvState {
 public:
  explicit KvState(KvLimits limits);
  ~KvState();
  const KvLimits& limits() const;

  // Streams exist while their instance has an endpoint for events; those of others are dropped.
  // `sources`, beside the keys: names of the endpoints. At another one it is another stream.
  void set_streams(std::span<const StreamKey> streams, std::span<const std::uint64_t> sources = {});
  std::uint64_t source(const StreamKey& stream) const;
  std::uint64_t generation() const;  // rises when streams come or go
  // Under which id the index holds it: another one after each new beginning. An id that is free
  // again is the last to be given anew.
  std::optional<policies::CacheId> cache_of(const StreamKey& stream) const;

  // The time of the changes that follow, for removals().
  void set_time(policies::Time now);

  // What this node's own subscription brought. A gap of the engine's own (from > end) begins an
  // interval anew; a new epoch replaces the stream. Batch by batch, so that the log can be cut at
  // each. With from == to, beyond what is held: a batch that could not be read, so nothing before
  // it is sure.
  Taken observed(const StreamKey& stream, const ObservedBatches& batches);

  // A life in which the engine has said nothing yet: it holds nothing.
  Taken begun(const StreamKey& stream, crdt::Epoch epoch);

  // What another node sent. A delta must start at or before our end within the epoch.
  Taken take_delta(const StreamKey& stream, const ObservedBatches& delta);
  // A whole state. Replaces what is worth less; is laid under or over what it touches.
  Taken take_state(const StreamKey& stream, const StreamPosition& position,
                   const StreamFacts& facts, BlockMap&& map);
  // Its instance was away when that life, by any name it has had here, had come to `step`: what is
  // known of it is doubtful until its engine says more. The greatest counts, in whatever order they
  // come; of a life that is not known yet, from when it is. True if that is new for ours.
  bool doubt(const StreamKey& stream, crdt::Epoch epoch, crdt::Version step);
  // The same life by another epoch, which is greater: our blocks stay, and so does a doubt.
  bool rename(const StreamKey& stream, crdt::Epoch epoch);

  StreamPosition position(const StreamKey& stream) const;
  StreamFacts facts(const StreamKey& stream) const;
  const BlockMap* map(const StreamKey& stream) const;  // null: unknown stream
  // Changes after `from`, at most `max_changes` of them in whole steps; nothing when the log does
  // not reach back so far.
  std::optional<LoggedChanges> changes_since(const StreamKey& stream, crdt::Version from,
                                             std::size_t max_changes) const;
  // Digest of the batch at `step`; 0: not kept.
  std::uint64_t batch_at(const StreamKey& stream, crdt::Version step) const;
  // One per stream while somebody holds it, unless the log no longer goes on from there or it ends
  // before `least`; null: unknown or flooded.
  std::shared_ptr<const StreamCut> cut(const StreamKey& stream, crdt::Version least = {});
  bool flooded(const StreamKey& stream) const;
  // It is given up, and the state of another at this position would end that.
  bool takes_back(const StreamKey& stream, const StreamPosition& position) const;
  // Does the index hold all that the map says? Not where the depth limit left blocks out: then the
  // stream is complete for other nodes and not for decisions.
  bool indexed_whole(const StreamKey& stream) const;
  // Has the engine, in this life, stored a block in the shared medium?
  bool shares(const StreamKey& stream) const;
  // For contradictions: forgets all of it, so that another node's state is taken.
  void forget(const StreamKey& stream);
  // Streams whose position has moved since the last call. For one reader: KvExchange.
  std::vector<StreamKey> take_moved();
  std::vector<StreamKey> streams() const;
  std::size_t blocks() const;  // held in all maps
  std::size_t present(const StreamKey& stream) const;
  std::uint64_t changes(const StreamKey& stream) const;  // of blocks, that batches brought so far

  const policies::BlockIndex& index() const;
  const policies::RemovalMarks& removals() const;  // any thread
  void upkeep(std::size_t at_most);  // the index's, and what its depth limit leaves to do

 private:
  struct Stream;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::node
