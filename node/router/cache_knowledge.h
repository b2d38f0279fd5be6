// CacheKnowledge: what a request would find cached at each instance, from all that is known: the
// blocks that engines' events tell of, and what was placed where.
//
//   tokens of the prompt -> chains of keys, one per block size -> BlockIndex -> by rank
//   blocks of its text   -> SharedResidency: placed there, ever, and in the last seconds
//
//   exact      the longer of the index and what was placed there in the last seconds: the first
//              events of a burst of siblings come only when the first of them is being computed
//   degraded   the longer of the index and what was placed there
//   predicted, unknown     what was placed there
//
// Each rank of an instance has a cache of its own; which of them a request goes to is said with
// its hits (rank_choice.h). A block in a medium that several instances reach counts for each of
// them that serves the model and has stored there itself. The last token is always computed, so a
// hit leaves at least one out, by whole blocks. Where the prompt's tokens are known, blocks of text
// are worth what they have turned out to be in tokens.
//
// This decides estimates only; the ring key never depends on it.
// Threads: all calls thread-safe; the view is swapped whole. Cost:
// tests/bench/cache_knowledge_bench.cc. Source: confidence after the precise and approximate prefix
// scorers of llm-d; the join is ours.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/router/cache_sources.h"
#include "node/router/models_list.h"
#include "node/router/rank_choice.h"
#include "node/router/shared_residency.h"
#include "policies/fleet_view.h"
#include "policies/scheduler.h"
#include "policies/token_chain.h"

namespace dualmesh::node {

// The tokens of a prompt as far as they are known; all of them, or a beginning.
struct KnownTokens {
  std::span<const policies::TokenId> ids;
  std::uint32_t prompt_tokens = 0;  // of the whole prompt, estimated when `ids` are its beginning
  std::string_view cache_salt;
  std::uint32_t block_bytes = 0;  // of the chain of the arrival
};

class CacheKnowledge {
 public:
  using ViewPointer = std::shared_ptr<const KvView>;

  explicit CacheKnowledge(SharedResidency& residency,
                          policies::MediumWeights weights = policies::kMediumWeights)
      : residency_(residency), weights_(weights) {}

  void publish(ViewPointer view);
  // In engines' caches the blocks of adapters go by their names. Of a model of which it is not
  // known whether it is one, nothing is expected by events, but where blocks go by its name.
  void set_kinds(ModelKinds kinds);
  ViewPointer view() const;  // null: no instance publishes events
  bool has_view() const { return has_view_.load(std::memory_order_acquire); }
  // Are the tokens of requests for `model` of any use? Also asked with the model not known yet.
  bool wants_tokens() const { return has_view(); }
  bool wants_tokens(const policies::FleetView& fleet, std::string_view model) const;

  // Fills in the hits of an arrival whose chain, model and estimated tokens are there, with their
  // sources, and what it has in tokens where that is known; and the rank it should go to, of each
  // instance with several.
  void look_up(policies::Arrival& arrival, const KnownTokens& tokens, RankChoices& ranks) const;
  RankLoad& rank_load() const { return rank_load_; }

 private:
  struct Joined;

  std::optional<bool> is_adapter(const std::string& model) const;  // nothing: not known
  void join(const KvView& known, policies::Arrival& arrival, const KnownTokens& tokens,
            RankChoices& ranks) const;
  void join_ranks(const Joined& joined, policies::Slot slot, policies::Arrival& arrival,
                  RankChoices& ranks) const;

  SharedResidency& residency_;
  const policies::MediumWeights weights_;
  mutable RankLoad rank_load_;
  std::atomic<bool> has_view_{false};  // as view_ says; for those who only ask that
  mutable std::mutex mutex_;
  ViewPointer view_;  // guarded, as is the next
  ModelKinds kinds_;
};

}  // namespace dualmesh::node
