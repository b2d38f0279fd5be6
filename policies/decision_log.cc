#include "policies/decision_log.h"

#include <utility>

namespace dualmesh::policies {

void DecisionLog::add(DecisionRecord& record) {
  DecisionRecord& place = records_[next_];
  if (used_ == records_.size()) {
    const auto old = by_id_.find(place.id);
    if (old != by_id_.end() && old->second == next_) by_id_.erase(old);
  } else {
    ++used_;
  }
  std::swap(place, record);
  by_id_[place.id] = next_;
  next_ = (next_ + 1) % records_.size();
}

const DecisionRecord* DecisionLog::find(RequestId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &records_[found->second];
}

const char* to_string(HitSource source) {
  switch (source) {
    case HitSource::unknown: return "unknown";
    case HitSource::predicted: return "predicted";
    case HitSource::degraded: return "degraded";
    case HitSource::exact: return "exact";
  }
  return "?";
}

const char* to_string(Reason reason) {
  switch (reason) {
    case Reason::none: return "none";
    case Reason::only_candidate: return "only_candidate";
    case Reason::waits: return "waits";
    case Reason::best_score: return "best_score";
    case Reason::longest_hit: return "longest_hit";
    case Reason::equal_hit: return "equal_hit";
    case Reason::shorter_ttft: return "shorter_ttft";
    case Reason::round_robin: return "round_robin";
    case Reason::random: return "random";
    case Reason::least_load: return "least_load";
    case Reason::less_of_two: return "less_of_two";
    case Reason::untried: return "untried";
    case Reason::ring_owner: return "ring_owner";
    case Reason::spilled: return "spilled";
    case Reason::rebalanced: return "rebalanced";
    case Reason::retried: return "retried";
    case Reason::handed: return "handed";
    case Reason::replaced: return "replaced";
  }
  return "?";
}

const char* to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::pending: return "pending";
    case Outcome::finished: return "finished";
    case Outcome::failed: return "failed";
    case Outcome::cancelled: return "cancelled";
    case Outcome::rejected: return "rejected";
  }
  return "?";
}

}  // namespace dualmesh::policies
