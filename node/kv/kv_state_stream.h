// One stream inside KvState: its map, its place in the index and its recent changes, kept in step.
//
// Invariant: the log ends where the map ends; a stream that is given up holds nothing.
// Threads: none; the ingest thread's.
#pragma once

#include <memory>
#include <optional>

#include "node/kv/kv_index_feed.h"
#include "node/kv/kv_state.h"

namespace dualmesh::node {

struct KvState::Stream {
  Stream(KvIndexFeed& index_feed, const KvLimits& kv_limits, policies::CacheId id)
      : feed(index_feed), limits(kv_limits), cache(id), log(kv_limits.log_changes) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  MapObserver observer() { return {feed, cache, deepest, shares}; }
  // Knows nothing but that it goes on from `at`.
  void begin_anew(crdt::Version at);
  void begin_life(crdt::Epoch life, const StreamFacts& said, crdt::Version at);
  void give_up(crdt::Version end);
  // A state of another is small enough to begin again with.
  bool takes_back(const StreamPosition& theirs, std::size_t blocks) const {
    return theirs.base.value == 0 && theirs.end > map.end() && blocks <= given_up_at / 2;
  }
  void learn(const StreamFacts& said);  // what is not said stays
  // Batches that join on, or of an epoch that begins with them.
  Taken append(const ObservedBatches& batches);
  // A map of our epoch, or of one that just began.
  Taken join(const StreamPosition& theirs, BlockMap&& incoming);
  StreamPosition position() const;
  // Adds the next blocks of the map, about `at_most`, to an index that takes all depths again.
  void refill(std::size_t at_most);

  KvIndexFeed& feed;
  const KvLimits& limits;
  policies::CacheId cache;
  BlockMap map;
  crdt::Epoch epoch;
  crdt::Epoch first_name;  // the life's, before it was renamed
  crdt::Version away;      // of that life; counts while the map ends no later
  crdt::Epoch later_life;  // one that we have not come to, and where it was away
  crdt::Version later_away;
  std::uint64_t last_batch = 0;
  std::uint64_t changes = 0;  // of blocks, ever
  StreamFacts facts;
  ChangeLog log;
  std::uint32_t deepest = 0;
  std::uint64_t source = 0;
  bool shares = false;  // has said a block in the shared medium
  bool flooded = false;
  std::size_t given_up_at = 0;             // with so many blocks
  bool moved = false;                      // since take_moved()
  bool scan_deep = false;                  // the depth limit fell
  std::optional<std::uint64_t> refill_at;  // where in the table's order a refill goes on
  std::weak_ptr<const StreamCut> cut;
};

}  // namespace dualmesh::node
