// EngineTwin: an engine's cache as batches of events, and the naive truth of what it held after
// each step of each of its lives. For tests of cache knowledge.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <vector>

#include "node/kv/kv_state.h"

namespace dualmesh::node {

struct EngineEvent {
  BlockMap::Kind kind = BlockMap::Kind::add;
  EngineHash hash = 0, parent = 0;  // of an addition: 0 for the first block of a prompt
  std::uint16_t depth = 0;
  policies::Medium medium = policies::Medium::gpu;
};

struct EngineLife {
  crdt::Epoch epoch;                              // what the stamp of its first batch says
  std::vector<std::vector<EngineEvent>> batches;  // of step i + 1
  // How many copies there were after a step, by the map's key: the steps at which that changed.
  std::map<EngineHash, std::vector<std::pair<std::uint64_t, int>>> copies;

  std::uint64_t end() const { return batches.size(); }
  std::uint64_t digest(std::uint64_t step) const;  // of the batch at `step`
  bool held(EngineHash map_key, std::uint64_t step) const;
};

class EngineTwin {
 public:
  struct Habits {
    std::size_t most_blocks = 60;  // beyond it, mostly removals
    std::size_t changes = 6;       // per batch at most
    std::uint32_t hashes = 200;    // how many different ones there are; more come up again
    double clears = 0.005;         // of batches
  };
  EngineTwin(std::uint32_t number, std::uint64_t first_stamp, Habits habits)
      : number_(number), habits_(habits) {
    restart(first_stamp);
  }

  void restart(std::uint64_t stamp);
  void produce(std::mt19937_64& random);

  EngineLife& life() { return lives_.back(); }
  const std::vector<EngineLife>& lives() const { return lives_; }
  // The key that all nodes make of a block's tokens.
  static policies::BlockKey key_of(EngineHash hash);
  // As the observer that holds `map` translates the batch: a block whose parent it does not know
  // has no key.
  static std::vector<BlockChange> translate(const std::vector<EngineEvent>& batch,
                                            const BlockMap* map);

 private:
  EngineHash hash_of(std::uint32_t which) const;
  bool holds(EngineHash hash) const;  // in any medium
  void count(EngineHash map_key, int by);

  const std::uint32_t number_;
  const Habits habits_;
  std::vector<EngineLife> lives_;
  std::map<EngineHash, std::pair<EngineEvent, int>> held_;  // by the map's key, with copies
};

}  // namespace dualmesh::node
