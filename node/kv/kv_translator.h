// KvTranslator: what an engine says of its blocks, as changes of the mesh's map.
//
// An engine names a block by a hash of its own and says its tokens once, when it is stored; the
// mesh knows it by a key over the tokens and all before them (policies/token_chain.h). A block's
// key follows from its parent's, which is found in the map or among the blocks stored before in the
// same batch. Blocks are copied and moved between media under the same hash, so one said without
// tokens is found likewise.
//
// Invariants: an addition has a key only when every token before it is known and its hash names one
// prefix; what is not certain is held without a key or not at all, never under another. A removal
// is passed on as it is: too many of them cost knowledge, never truth. The same batches over the
// same map and facts make the same changes on every node. Threads: none; the ingest thread's, one
// per stream. Source: the request keys of llm-d's cache index; the rules for groups and copies
// follow vLLM's block pool.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "node/kv/engine_batch.h"
#include "node/kv/kv_types.h"

namespace dualmesh::node {

struct TranslatorCounters {
  std::uint64_t batches = 0;
  std::uint64_t events = 0;                            // understood, of whatever group
  std::uint64_t stored = 0, removed = 0, cleared = 0;  // blocks as changes; clearings
  IssueCounts issues{};
  std::uint64_t of(EventIssue issue) const { return issues[static_cast<std::size_t>(issue)]; }
  std::uint64_t skipped_events() const;
  std::uint64_t skipped_blocks() const;
};

class KvTranslator {
 public:
  // Another life of the engine, of which `facts` is known already, by others.
  void restart(const StreamFacts& facts = {});
  // What others know and this one does not; what is known stays.
  void learn(const StreamFacts& facts);

  // Appends the changes of `batch`. `map` holds all before it; null: nothing.
  void translate(const EngineBatch& batch, const BlockMap* map, std::vector<BlockChange>& changes);

  const StreamFacts& facts() const { return facts_; }
  const TranslatorCounters& counters() const { return counters_; }

 private:
  static constexpr std::size_t kGroups = 64;

  // A prefix: the key and the depth of its last block. No key: not known.
  struct Prefix {
    policies::BlockKey key = 0;
    std::uint32_t depth = 0;
  };
  struct Stored {  // in this batch
    EngineHash hash = 0;
    policies::BlockKey key = 0;
    std::uint32_t depth = 0;
    std::uint32_t event = 0;  // before first_event_: the place is free
  };

  void count(EventIssue issue, std::uint64_t times = 1) {
    counters_.issues[static_cast<std::size_t>(issue)] += times;
  }
  bool stored_in_main_group(const EngineEvent& event);
  bool removed_from_main_group(const EngineEvent& event) const;
  void begin_batch(const EngineBatch& batch);
  void prefetch(const EngineBatch& batch, std::size_t end);
  void prefetch_entries(std::span<const EngineHash> hashes, policies::Medium medium) const;
  Stored& place(EngineHash hash);
  Prefix known_in(EngineHash hash, policies::Medium medium) const;
  Prefix known(EngineHash hash, policies::Medium first);
  bool has_own_tokens(const EngineEvent& event);
  void store(const EngineBatch& batch, const EngineEvent& event);
  void store_chain(const EngineBatch& batch, const EngineEvent& event);
  void store_known(const EngineBatch& batch, const EngineEvent& event);
  bool settle(EngineHash hash, policies::Medium medium, Prefix& prefix);
  void add(EngineHash hash, policies::Medium medium, const Prefix& prefix);
  void remove(const EngineBatch& batch, const EngineEvent& event);
  Prefix before_first(const EngineEvent& event);

  StreamFacts facts_;
  std::array<GroupKind, kGroups> groups_{};
  TranslatorCounters counters_;
  // Open addressing over the first mask_ + 1 places; places of other batches are free.
  std::vector<Stored> stored_;
  Stored nowhere_;
  std::size_t mask_ = 0;
  std::uint32_t first_event_ = 1, event_ = 0;
  // During translate() only.
  const BlockMap* map_ = nullptr;
  std::size_t next_event_ = 0, next_hash_ = 0;  // to be prefetched
  std::vector<BlockChange>* changes_ = nullptr;
};

}  // namespace dualmesh::node
