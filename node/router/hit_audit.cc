#include "node/router/hit_audit.h"

#include <algorithm>

namespace dualmesh::node {

using policies::HitSource;

void HitAudit::expect(const policies::Arrival& arrival) {
  hit_tokens_ = arrival.hit_tokens;
  hit_sources_ = arrival.hit_sources;
  input_tokens_ = arrival.input_tokens;
  block_tokens_ = arrival.block_tokens;
}

void HitAudit::sent_to_rank(const RankChoice& choice, bool as_chosen) {
  rank_chosen_ = as_chosen;
  ranked_instance_ = choice.instance;
  if (as_chosen) return;
  hit_tokens_.at(choice.slot) = choice.anywhere_tokens;
  hit_sources_.at(choice.slot) = choice.anywhere_source;
}

CachePrediction HitAudit::expected_at(policies::Slot slot) const {
  CachePrediction expected;
  if (slot < hit_sources_.size()) expected.source = hit_sources_[slot];
  if (slot < hit_tokens_.size()) {
    expected.expected_tokens = std::min(hit_tokens_[slot], input_tokens_);
  }
  return expected;
}

void HitAudit::placed(policies::Slot slot, std::optional<policies::Duration> age,
                      policies::Time now) {
  slot_ = slot;
  placed_at_ = now;
  age_.reset();
  rank_chosen_ = false;
  const CachePrediction expected = expected_at(slot);
  if (expected.source != HitSource::predicted || expected.expected_tokens == 0) return;
  age_ = age;
}

void HitAudit::finished(policies::Slot slot, const std::string& instance,
                        const net::AnswerWatcher& answer, const CacheKnowledge& knowledge,
                        PredictionCheck& check, SharedResidency& residency, policies::Time now) {
  if (answer.prompt_tokens() == 0) return;  // no usage at all
  CachePrediction expected = expected_at(slot);
  if (const auto view = knowledge.view(); view && slot < view->by_slot.size()) {
    expected.block_tokens = view->by_slot[slot].block_tokens;
  }
  std::optional<std::uint32_t> said;
  if (answer.says_cached_tokens()) said = answer.cached_tokens();
  const auto reported = check.ended(instance, expected, said);
  if (reported && rank_chosen_ && slot == slot_) {
    const bool found = *reported + std::max(expected.block_tokens, 1U) > expected.expected_tokens;
    knowledge.rank_load().turned_out(ranked_instance_, found);
  }
  if (!reported || !age_ || slot != slot_) return;
  // Estimates of tokens are rough: by far, and by more than a block of text.
  const std::uint64_t had = *reported;
  if (had * 2 >= expected.expected_tokens || had + block_tokens_ >= expected.expected_tokens)
    return;
  residency.forget_older(slot, *age_ + (now - placed_at_), now);
}

}  // namespace dualmesh::node
