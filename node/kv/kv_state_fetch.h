// KvStateFetch: one stream's state on its way from another node, piece by piece; and KvCuts: the
// states frozen for those who fetch from us.
//
// Invariant: pieces are taken in order and of one cut; what is held is what was received.
// Threads: none; the ingest thread's. Time is an argument.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "node/kv/kv_codec.h"

namespace dualmesh::node {

class KvStateFetch {
 public:
  enum class Took : std::uint8_t { useless, more, whole, failed };

  // `least`: a state that ends before would teach nothing, if there is a later one.
  KvStateFetch(crdt::NodeId from, StreamName stream, crdt::Epoch epoch, crdt::Version least,
               policies::Time now)
      : from_(from), stream_(stream), epoch_(epoch), least_(least), progress_at_(now) {}

  crdt::NodeId from() const { return from_; }
  KvFetch request() const { return {stream_, epoch_, cut_, entries_.size(), least_}; }
  Took take(KvPiece&& piece, std::size_t max_total, policies::Time now);
  policies::Time progress_at() const { return progress_at_; }
  const StreamPosition& position() const { return position_; }
  StreamFacts facts() const { return facts_; }
  // Nothing when the entries are no state, or not the one that was announced.
  std::optional<BlockMap> map() const {
    auto map = BlockMap::restore(position_.base, position_.end, entries_);
    if (map && map->digest() != position_.digest) map.reset();
    return map;
  }

  policies::Time asked_at{};
  bool ask_due = true;

 private:
  crdt::NodeId from_;
  StreamName stream_;
  crdt::Epoch epoch_;
  crdt::Version least_;
  policies::Time progress_at_;
  std::uint64_t cut_ = 0;
  std::uint64_t total_ = 0;
  StreamPosition position_;
  StreamFacts facts_;
  std::vector<std::pair<EngineHash, BlockMap::Entry>> entries_;
};

class KvCuts {
 public:
  static constexpr std::size_t kMost = 16;  // at a time, and of all blocks allowed a quarter

  explicit KvCuts(KvState& state) : state_(state) {}

  struct Cut {
    std::uint64_t id = 0;
    std::shared_ptr<const StreamCut> cut;
    policies::Time used_at{};
    bool is_told = false;  // to its end, to somebody: the first to go where room is scarce
  };
  // The one asked for, or a new one for `id` 0; null: gone, or too many.
  const Cut* find(const StreamKey& stream, const KvFetch& asked, policies::Time now);
  void told(std::uint64_t id) { cuts_.at(id).second.is_told = true; }
  void drop_unused(policies::Time before);

 private:
  bool has_room(std::size_t blocks) const;
  bool make_room(std::size_t blocks);

  KvState& state_;
  std::map<std::uint64_t, std::pair<StreamKey, Cut>> cuts_;  // by id
  std::uint64_t last_id_ = 0;
};

}  // namespace dualmesh::node
