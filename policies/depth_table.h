// DepthTable: how many leading blocks of a prompt make up its ring key.
//
// A mark on the key of the first d blocks says "too hot, go on to depth d + 1". A window of the
// last observed keys finds what is hot (marked) and what has gone cold (unmarked at once).
//
// Alone, the own marks decide, exactly as in the authors' rule. With peers the marks are a shared
// table whose entries expire unless somebody refreshes them: every mark that is used and not cold
// is proposed again after `refresh_after`, and an own mark counts by itself only until the shared
// table has had time to show it, so that nodes come to the same depth.
//
// Invariant: depth_of is at least 1 and at most the number of blocks, the partial one included.
// Cost: depth_of O(depth); observe O(depth).
// Threads: none; its owner locks.
// Source: DualMap (arXiv 2602.06502), adaptive prefix; differences in policies/README.md.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <list>
#include <vector>

#include "policies/fleet_view.h"
#include "policies/key_window.h"
#include "policies/prompt_chain.h"
#include "policies/scheduler.h"
#include "policies/time.h"

namespace dualmesh::policies {

class DepthTable {
 public:
  struct Settings {
    std::uint32_t window = 200;
    std::uint32_t min_samples = 20;
    double hot_share = 0.0612;
    double cold_share = 0.02;
    std::uint32_t max_marks = 10'000;  // per level, least recently used out
    Duration refresh_after = std::chrono::seconds(20);
  };

  explicit DepthTable(const Settings& settings);

  // `shared` is null for a node alone.
  std::uint32_t depth_of(const PromptChain& chain, const DepthMarks* shared, Time now) const;
  // To be called once per request, with the depth it was routed at.
  void observe(const PromptChain& chain, std::uint32_t depth, const DepthMarks* shared, Time now);

  // Appends the marks to share or to keep since the last call. At most kMaxProposals wait; one that
  // finds no room is proposed again when it is next used.
  void take_proposals(std::vector<DepthProposal>& out);

  std::uint64_t digest() const { return digest_; }  // order-independent, over the own marks
  std::size_t size() const;

  static constexpr std::size_t kMaxProposals = 4'096;

 private:
  struct Mark {
    BlockKey key;
    std::uint32_t deeper;
    Time proposed_at;
  };
  struct Level {
    std::list<Mark> by_use;  // most recently used first
    boost::unordered_flat_map<BlockKey, std::list<Mark>::iterator> by_key;
  };

  std::uint32_t deeper_than(std::uint32_t depth, BlockKey key, const DepthMarks* shared,
                            Time now) const;
  void mark(std::uint32_t depth, BlockKey key, std::uint32_t deeper, Time now);
  void unmark(std::uint32_t depth, BlockKey key);
  bool propose(BlockKey key, std::uint32_t deeper);

  Settings settings_;
  KeyWindow window_;
  std::vector<Level> levels_;  // [depth - 1]
  std::vector<DepthProposal> proposals_;
  std::uint64_t digest_ = 0;
};

}  // namespace dualmesh::policies
