// HitAudit: remembers of one request what was expected of caches when it was placed, and settles it
// with what its instance says in the end.
//
// Where an instance without events turns out to have lost what was placed there, it has lost what
// is older as well, as engines give up first what was used longest ago: that is no longer
// predicted.
//
// Threads: none; the owner's. Source: ours.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/prompt_reader.h"
#include "node/router/cache_knowledge.h"
#include "node/router/prediction_check.h"
#include "node/router/shared_residency.h"
#include "policies/scheduler.h"

namespace dualmesh::node {

class HitAudit {
 public:
  // Before the arrival is given to the scheduler.
  void expect(const policies::Arrival& arrival);
  // It goes to an instance with several ranks: to one by our choice, or, though one had been
  // chosen, where the engine likes.
  void sent_to_rank(const RankChoice& choice, bool as_chosen);
  // `age`: of what was expected there (SharedResidency::placed_here).
  void placed(policies::Slot slot, std::optional<policies::Duration> age, policies::Time now);
  void finished(policies::Slot slot, const std::string& instance, const net::AnswerWatcher& answer,
                const CacheKnowledge& knowledge, PredictionCheck& check, SharedResidency& residency,
                policies::Time now);

 private:
  CachePrediction expected_at(policies::Slot slot) const;

  std::vector<std::uint32_t> hit_tokens_;
  std::vector<policies::HitSource> hit_sources_;
  std::uint32_t input_tokens_ = 0;
  bool rank_chosen_ = false;
  policies::InstanceId ranked_instance_ = 0;
  std::uint32_t block_tokens_ = 0;  // of a block of text
  policies::Slot slot_ = policies::kNoSlot;
  std::optional<policies::Duration> age_;  // of what was expected at slot_
  policies::Time placed_at_{};
};

}  // namespace dualmesh::node
